// Two small charts as SVG: a line of shares, and bars of two kinds of bytes. Each has a list for screen readers.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 560, HEIGHT = 176, LEFT = 52, RIGHT = 8, TOP = 8, BOTTOM = 20;

export function bytes(size) {
  if (size < 1000) return `${size} B`;
  const units = ["kB", "MB", "GB", "TB", "PB"];
  let unit = -1;
  do { size /= 1000; unit++; } while (size >= 999.5 && unit < units.length - 1);
  return `${size < 9.95 ? size.toFixed(1) : Math.round(size)} ${units[unit]}`;
}

export const count = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;

export const percent = (share) => `${(100 * share).toFixed(share > 0.995 && share < 1 ? 1 : 0)} %`;

function draw(name, attributes, parent, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

function frame(place, label, ticks, points) {
  place.replaceChildren();
  const svg = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label }, place);
  const y = (share) => TOP + (1 - share) * (HEIGHT - TOP - BOTTOM);
  for (const [share, text] of ticks) {
    draw("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(share), y2: y(share) }, svg);
    draw("text", { x: LEFT - 6, y: y(share) + 4, "text-anchor": "end" }, svg, text);
  }
  const step = (WIDTH - LEFT - RIGHT) / Math.max(points.length, 1);
  const shown = [0, Math.floor(points.length / 2), points.length - 1];
  for (const index of new Set(shown.filter((each) => points[each]))) {
    const anchor = index === 0 ? "start" : index === points.length - 1 ? "end" : "middle";
    const x = LEFT + step * (index + (anchor === "start" ? 0 : anchor === "end" ? 1 : 0.5));
    draw("text", { x, y: HEIGHT - 4, "text-anchor": anchor }, svg, points[index].label);
  }
  return { svg, y, step };
}

function readable(place, svg, step, points, words) {
  const tip = document.createElement("p");
  tip.className = "tip";
  tip.textContent = points.length ? words(points[points.length - 1]) : "No data yet.";
  points.forEach((point, index) => {
    const area = draw("rect", { class: "hover", x: LEFT + step * index, y: TOP, width: step, height: HEIGHT - TOP - BOTTOM }, svg);
    area.addEventListener("pointerenter", () => { tip.textContent = words(point); });
  });
  const list = document.createElement("ul");
  list.className = "hidden-text";
  for (const point of points.filter((each) => each.hits || each.fetched)) {
    const item = document.createElement("li");
    item.textContent = words(point);
    list.append(item);
  }
  place.append(tip, list);
}

const rateOf = (point) => point.hits / (point.hits + point.fetched);

export function rateChart(place, points) {
  const known = points.map((point, index) => ({ ...point, index })).filter((point) => point.hits + point.fetched > 0);
  const { svg, y, step } = frame(place, "Hit rate over time", [[0, "0 %"], [0.5, "50 %"], [1, "100 %"]], points);
  const x = (index) => LEFT + step * (index + 0.5);
  if (known.length > 1) {
    draw("polyline", { class: "rate", points: known.map((point) => `${x(point.index)},${y(rateOf(point))}`).join(" ") }, svg);
  }
  for (const point of known) {
    const size = Math.min(5, step / 2);
    draw("rect", { class: "point", x: x(point.index) - size / 2, y: y(rateOf(point)) - 2.5, width: size, height: 5 }, svg);
  }
  readable(place, svg, step, points, (point) => point.hits + point.fetched
    ? `${point.label}: ${percent(rateOf(point))} — ${count(point.hits, "hit")}, ${point.fetched} fetched`
    : `${point.label}: no requests`);
}

export function bytesChart(place, points) {
  const most = Math.max(1, ...points.map((point) => point.saved_bytes + point.fetched_bytes));
  const { svg, y, step } = frame(place, "Bytes over time", [[0, "0"], [0.5, bytes(Math.round(most / 2))], [1, bytes(most)]], points);
  const gap = step > 6 ? 2 : 0.5;
  points.forEach((point, index) => {
    const saved = point.saved_bytes / most, fetched = point.fetched_bytes / most;
    const at = { x: LEFT + step * index + gap / 2, width: Math.max(step - gap, 1) };
    draw("rect", { class: "saved", ...at, y: y(saved), height: y(0) - y(saved) }, svg);
    draw("rect", { class: "fetched", ...at, y: y(saved + fetched), height: y(saved) - y(saved + fetched) }, svg);
  });
  readable(place, svg, step, points, (point) =>
    `${point.label}: ${bytes(point.saved_bytes)} from the cache, ${bytes(point.fetched_bytes)} from upstreams`);
  const legend = document.createElement("ul");
  legend.className = "legend";
  for (const [kind, text] of [["saved", "from the cache"], ["fetched", "from upstreams"]]) {
    const item = document.createElement("li"), mark = document.createElement("span");
    mark.className = kind;
    item.append(mark, text);
    legend.append(item);
  }
  place.append(legend);
}
