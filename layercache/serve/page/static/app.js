// The page: reads /ui/state once, /ui/tiers now and then, and follows /ui/events.

import { bytes, bytesChart, count, percent, rateChart } from "/ui/charts.js";

const at = (id) => document.getElementById(id);
const made = (name, { text, ...attributes } = {}, ...children) => {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  element.append(...children);
  return element;
};
const short = (name) => name.replace(/^(sha\d+:)?([0-9a-f]{12})[0-9a-f]+$/, "$2");
const duration = (seconds) => seconds < 120 ? `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`
  : seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });

const DAYS = 30;

let state = { minutes: [], days: [], running: [], errors: [] };
let images = [];
let period = "hour";
const open = new Set();

function showTotals() {
  const { total } = state;
  const tiles = [
    ["Hit rate", total.hit_rate === null ? "–" : percent(total.hit_rate), `${count(total.hits, "hit")}, ${total.fetched} fetched`],
    ["Not pulled", bytes(total.saved_bytes), "bytes that no upstream had to send"],
    ["Inflating saved", duration(total.saved_seconds), "processor time, estimated"],
  ];
  at("totals").replaceChildren(...tiles.map(([name, value, note]) => made("div", {},
    made("dt", { text: name }), made("dd", { text: value }, made("small", { text: note })))));
}

function lastDays() {
  const known = new Map(state.days.map((each) => [each.day, each]));
  const nothing = { hits: 0, fetched: 0, saved_bytes: 0, fetched_bytes: 0 };
  return Array.from({ length: DAYS }, (_, index) => {
    const day = new Date(Date.now() - (DAYS - 1 - index) * 86400e3).toISOString().slice(0, 10);
    return { ...nothing, ...known.get(day), label: day.slice(5) };
  });
}

function showCharts() {
  const points = period === "hour"
    ? state.minutes.map((each) => ({ ...each, label: clock(each.at) }))
    : lastDays();
  rateChart(at("rate-chart"), points);
  bytesChart(at("bytes-chart"), points);
}

function runningRow(each) {
  const words = { fetching: "fetching", inflating: "inflating", waiting: "waiting for" }[each.kind] ?? each.kind;
  const from = each.kind === "waiting" ? `${words} ${each.where}` : each.where ? `${words} from ${each.where}` : words;
  const amount = each.total ? `${bytes(each.done)} of ${bytes(each.total)}` : bytes(each.done);
  const bar = made("progress", { "aria-label": `${from} ${short(each.name)}`, max: each.total ?? 1 });
  if (each.total) bar.value = each.done;
  return made("li", { "data-name": each.name }, made("div", { class: "between" },
    made("span", {}, made("span", { class: "mono", text: short(each.name), title: each.name }), ` ${from}`),
    made("span", { class: "number", text: amount })), bar);
}

function showLive() {
  at("running").replaceChildren(...state.running.map(runningRow));
  at("running-none").hidden = state.running.length > 0;
  at("errors").replaceChildren(...state.errors.map((each) => made("li", {},
    made("time", { datetime: new Date(each.at * 1000).toISOString(), text: `${clock(each.at)} ` }),
    each.times > 1 ? `${each.what} (${each.times} times)` : each.what,
    ...(each.hint ? [made("div", { class: "hint", text: each.hint })] : []))));
  at("errors-none").hidden = state.errors.length > 0;
  if (period === "hour") showCharts();
}

function tierCard(tier) {
  const card = made("li", {}, made("h3", { text: tier.name }));
  if (tier.error) card.append(made("p", { class: "quiet", text: tier.error }));
  else if (tier.counted) {
    const limit = tier.max_size ? ` of ${bytes(tier.max_size)}` : "";
    card.append(made("div", { class: "between" },
      made("span", { text: `${bytes(tier.bytes)}${limit}` }),
      made("span", { class: "quiet", text: `${count(tier.blobs, "blob")}, ${count(tier.image_count, "image")}` })));
    if (tier.max_size) {
      const meter = made("meter", { min: 0, max: tier.max_size, "aria-label": `${tier.name}: share of its limit in use` });
      meter.value = tier.bytes;
      card.append(meter);
    }
  } else card.append(made("p", { class: "quiet", text: tier.counting ? "counting…" : "not counted" }));
  const notes = [tier.readonly && "read-only", tier.max_age && `blobs unused for ${duration(tier.max_age)} go`].filter(Boolean);
  if (notes.length) card.append(made("p", { class: "quiet", text: notes.join(", ") }));
  if (tier.remote && tier.countable && !tier.counting) {
    const button = made("button", { type: "button", text: tier.counted ? "Count again" : "Count (lists the store)" });
    button.addEventListener("click", () => loadTiers(tier.name));
    card.append(button);
  }
  return card;
}

function layersOf(image) {
  const table = made("table", {}, made("thead", {}, made("tr", {},
    ...["Layer", "Size", "Images with it", "State"].map((text, index) => made("th", { scope: "col", text, ...(index === 1 || index === 2 ? { class: "number" } : {}) })))));
  table.append(made("tbody", {}, ...image.layers.map((layer) => made("tr", {},
    made("td", { class: "mono", text: short(layer.digest), title: layer.digest }),
    made("td", { class: "number", text: bytes(layer.size) }),
    made("td", { class: "number", text: layer.images }),
    made("td", layer.cached ? { text: "cached" } : { text: "not cached", class: "missing" })))));
  return table;
}

function imageRows(image) {
  const isOpen = open.has(image.name);
  const button = made("button", { type: "button", text: image.name, "aria-expanded": isOpen });
  const rows = [made("tr", {}, made("th", { scope: "row" }, button),
    made("td", { text: image.platforms.join(", ") || "–" }),
    made("td", { class: "number", text: image.layers.length }),
    made("td", { class: "number", text: bytes(image.size) }),
    made("td", { class: "number", text: bytes(image.shared) }))];
  button.addEventListener("click", () => {
    if (!open.delete(image.name)) open.add(image.name);
    showImages(image.name);
  });
  if (isOpen) rows.push(made("tr", {}, made("td", { colspan: 5 },
    made("p", { class: "mono", text: image.digest }), layersOf(image))));
  return rows;
}

function showImages(focused) {
  const wanted = at("search").value.trim().toLowerCase();
  const found = images.filter((image) => !wanted || [image.name, image.digest, ...image.platforms,
    ...image.layers.map((layer) => layer.digest)].some((text) => text.toLowerCase().includes(wanted)));
  at("images").replaceChildren(...found.flatMap(imageRows));
  at("images-count").textContent = wanted ? `${found.length} of ${count(images.length, "image")}` : count(images.length, "image");
  if (focused) [...at("images").querySelectorAll("button")].find((each) => each.textContent === focused)?.focus();
}

async function read(path) {
  const answer = await fetch(path, { headers: { accept: "application/json" } });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

async function loadTiers(wanted = "") {
  const { tiers } = await read(wanted ? `/ui/tiers?count=${encodeURIComponent(wanted)}` : "/ui/tiers");
  at("tiers").replaceChildren(...tiers.map(tierCard));
  const byName = new Map();
  for (const tier of tiers) for (const image of tier.images ?? []) if (!byName.has(image.name)) byName.set(image.name, image);
  const now = [...byName.values()];
  if (JSON.stringify(now) !== JSON.stringify(images)) {
    images = now;
    const focus = document.activeElement?.closest?.("#images") ? document.activeElement.textContent : "";
    showImages(focus);
  }
  if (tiers.some((tier) => tier.counting)) setTimeout(() => loadTiers().catch(lost), 500);
}

function connection(kind, text) {
  at("connection").className = kind;
  if (at("connection-text").textContent !== text) at("connection-text").textContent = text;
}
const lost = () => connection("lost", "not connected");

async function loadState() {
  state = { ...state, ...await read("/ui/state") };
  at("about").textContent = `version ${state.version}, default upstream ${state.upstream}, ${count(state.workers, "worker")}`;
  showTotals();
  showCharts();
  showLive();
}

function follow() {
  const events = new EventSource("/ui/events");
  events.addEventListener("message", (event) => {
    connection("live", "live");
    state = { ...state, ...JSON.parse(event.data) };
    showLive();
  });
  let failures = 0;
  events.addEventListener("open", () => { failures = 0; connection("live", "live"); });
  events.addEventListener("error", () => { if (++failures > 1 || events.readyState === 2) lost(); });
}

function theme() {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const button = at("theme");
  const isDark = () => (document.documentElement.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
  const show = () => button.setAttribute("aria-pressed", isDark());
  try { const kept = localStorage.getItem("theme"); if (kept) document.documentElement.dataset.theme = kept; } catch { /* no storage */ }
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("theme", document.documentElement.dataset.theme); } catch { /* no storage */ }
    show();
  });
  system.addEventListener("change", show);
  show();
}

theme();
at("search").addEventListener("input", () => showImages());
for (const button of document.querySelectorAll("[data-period]")) button.addEventListener("click", () => {
  period = button.dataset.period;
  for (const each of document.querySelectorAll("[data-period]")) each.setAttribute("aria-pressed", each === button);
  showCharts();
});
loadState().catch(lost);
loadTiers().catch(lost);
follow();
setInterval(() => { if (!document.hidden) { loadState().catch(lost); loadTiers().catch(lost); } }, 15000);
