def test_all_output_goes_through_the_screen_which_hides_the_display_first() -> None:
    folder = Path(layercache.cli.__file__).parent
    own = {"terminal.py", "output.py", "progress.py"}
    direct = [path.name for path in folder.rglob("*.py") if "click.echo(" in path.read_text()]
    assert set(direct) <= own
