"""``layercache completion``: prints the script by which a shell completes commands, options and names."""

from __future__ import annotations

from typing import Literal, get_args

import click

from layercache.cli.command import Command

VARIABLE = "_LAYERCACHE_COMPLETE"

# Unlike click's script, this one completes words with ":" and "@", which readline takes for several words.
# It also works with bash 3.2, which macOS has.
BASH = """\
_layercache_completion() {
    local line="${COMP_LINE:0:COMP_POINT}" word type value reply
    local -a words
    read -r -a words <<< "$line"
    [[ -z $line || $line == *[[:space:]] ]] && words+=("")
    word="${words[${#words[@]}-1]}"
    local begun="${word%"${word##*[:@=]}"}"
    COMPREPLY=()
    reply=$(env COMP_WORDS="${words[*]}" COMP_CWORD=$((${#words[@]} - 1)) \\
        _LAYERCACHE_COMPLETE=bash_complete "$1" 2> /dev/null)
    while IFS=, read -r type value; do
        case $type in
            dir) compopt -o dirnames 2> /dev/null ;;
            file) compopt -o default 2> /dev/null ;;
            plain) COMPREPLY+=("${value#"$begun"}") ;;
        esac
    done <<< "$reply"
}
complete -F _layercache_completion layercache
"""

Shell = Literal["bash", "zsh", "fish"]


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(get_args(Shell)))
@click.pass_context
def completion(ctx: click.Context, shell: Shell) -> None:
    """Print the completion script of a shell.

    \b
    eval "$(layercache completion bash)"       in ~/.bashrc
    eval "$(layercache completion zsh)"        in ~/.zshrc
    layercache completion fish | source        in ~/.config/fish/config.fish

    Completes commands, options, and the names of images and layers in the nearest cache on this machine.
    """  # noqa: D301  # click does not rewrap a paragraph that begins so
    if shell == "bash":
        click.echo(BASH, nl=False)
        return
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None, "click knows these shells"
    click.echo(kind(ctx.find_root().command, {}, "layercache", VARIABLE).source())
