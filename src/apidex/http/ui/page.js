// The page requests /v1/search at each key, or after the answer that it waits for.
// It keeps the search in its address, under the names that the API has for it.
// Texts from the catalogue are put in as text, never as markup.
// It is not a module: a browser may draw a frame before it runs one, and the first request would wait for that.
"use strict";

const FILTERS = JSON.parse(document.getElementById("filters").dataset.declared); // by name, as search/filters.py declares them
const SCOPES = { name: "Names only", about: "Words only" }; // the values of `in`, except `all`
const GOOD = ["No key", "HTTPS", "CORS"];
const LIMIT = 20;
const CATEGORIES_AT_FIRST = 10;
const TIMEOUT = 8_000; // milliseconds for one request
const PATIENCE = 2_000; // milliseconds from a newer key until the request under way is aborted
const REFRESH = 60_000; // milliseconds between two updates of the foot

const $ = (id) => document.getElementById(id);
const box = $("q");

// Behind a proxy that answers at /prefix too, addresses are relative to /prefix/.
if (!location.pathname.endsWith("/")) history.replaceState(null, "", `${location.pathname}/${location.search}`);

let asked = new URLSearchParams(); // q, sort and the filters, as in the address
let settled = true; // the next key starts a new step of the history
let entered = false; // Enter was pressed, and what was typed is not answered yet
let answer = null; // the answer that is shown
let version = null; // of the catalogue in the foot
let trouble = null; // the error that is shown
let writing; // the timer that puts the search into the address

// --- elements

function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function button(text, onclick, className = "") {
  const made = element("button", { type: "button", class: className }, text);
  made.addEventListener("click", onclick);
  return made;
}

const template = (id) => $(id).content.firstElementChild.cloneNode(true);
const number = (value) => String(value).replace(/\B(?=(\d{3})+$)/g, ","); // the first toLocaleString is slow: it loads data
const apis = (count) => `${number(count)} ${count === 1 ? "API" : "APIs"}`;
const categoriesOf = (count) => `${number(count)} ${count === 1 ? "category" : "categories"}`;
const labelled = (labels, value) => (Object.hasOwn(labels, value) ? labels[value] : value); // a list may say "constructor"
const word = (filter, value) => labelled(FILTERS[filter]?.value_labels ?? {}, value);

/** A link, if the address is one that a page may lead to; data could say javascript: as well. */
function linked(address, text) {
  const url = URL.parse?.(address) ?? (URL.canParse(address) ? new URL(address) : null);
  if (!/^https?:$/.test(url?.protocol)) return element("span", { tabindex: "-1" }, ...text);
  return element("a", { href: url.href, rel: "noopener noreferrer" }, ...text);
}

/** The name in pieces, with what was searched marked; ranges count code points, not UTF-16 units. */
function marked(name, ranges) {
  const characters = Array.from(name);
  const text = (from, to) => characters.slice(from, to).join("");
  const pieces = [];
  let at = 0;
  for (const [from, to] of ranges) {
    pieces.push(text(at, from), element("mark", {}, text(from, to)));
    at = to;
  }
  return [...pieces, text(at)];
}

// --- asking

class Trouble extends Error {
  constructor(status, detail, parameter, delay = 0) {
    super(detail);
    Object.assign(this, { status, parameter, delay });
  }
}

/** Return the service's answer at *path*. Throws a Trouble; its status is 0 when there was no answer. */
async function get(path, signal) {
  const timeout = AbortSignal.timeout(TIMEOUT);
  let response, body;
  try {
    response = await fetch(path, { cache: "no-cache", signal: signal ? AbortSignal.any([signal, timeout]) : timeout });
    body = await response.json().catch((error) => {
      if (response.ok || timeout.aborted || signal?.aborted) throw error;
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Trouble(0, timeout.aborted ? "The service does not answer." : "The service cannot be reached.");
  }
  if (response.ok) return body;
  const detail = body?.detail ?? `The service answers with an error (${response.status}).`;
  throw new Trouble(response.status, detail, body?.parameter, 1_000 * response.headers.get("Retry-After") || 0);
}

/**
 * Starting a task again aborts its previous run. `soon` starts it after that run, which has PATIENCE to end: people who type
 * do not send requests faster than the service answers. A run that fails for a reason that may pass is repeated, after a delay
 * that grows with each repetition, and not before the service wants it.
 */
function task(work, failed) {
  let running, timer, newer;
  begin.stop = () => {
    running?.abort();
    clearTimeout(timer);
    clearTimeout(newer);
    running = newer = undefined;
  };
  begin.soon = () => {
    if (running) newer ??= setTimeout(begin, PATIENCE);
    else begin();
  };
  return begin;

  async function begin(wait = 1_000) {
    begin.stop();
    const run = (running = new AbortController());
    try {
      await work(run.signal);
    } catch (error) {
      if (run.signal.aborted) return;
      if (!(error instanceof Trouble)) throw error;
      failed(error);
      if (mayPass(error)) timer = setTimeout(begin, Math.max(wait, Math.min(error.delay, REFRESH)), Math.min(2 * wait, 15_000));
    } finally {
      if (running === run) running = undefined;
    }
    if (newer && !running) begin();
  }
}

function searchPath(further = {}) {
  return `v1/search?${new URLSearchParams([...asked, ...Object.entries(further)])}`;
}

const ask = task(async (signal) => {
  askForMore.stop(); // it is of the answer before
  $("more").ariaDisabled = "true"; // it may have the focus
  $("hits").ariaBusy = "true";
  const [path, showFound, place] = isBlank()
    ? ["v1/categories", showCategories, "browse"]
    : [searchPath({ limit: LIMIT }), show, "found"];
  const found = await get(path, signal);
  const focused = document.activeElement;
  showFound(found);
  reached();
  hideTrouble();
  const isReplaced = !focused.isConnected || focused.closest("[hidden]");
  if (isReplaced) $(place).focus({ preventScroll: true });
  enter();
}, showTrouble);

const askForMore = task(async (signal) => {
  const offset = $("hits").children.length;
  const more = await get(searchPath({ limit: LIMIT, offset, version: answer.version }), signal);
  const items = more.hits.map(hitItem);
  $("hits").append(...items);
  showMore(more.total);
  reached();
  (items[0]?.querySelector("h3 > *") ?? $("found")).focus();
  say(`${number($("hits").children.length)} of ${number(more.total)} shown`);
}, (trouble) => (trouble.status === 410 ? ask() : showTrouble(trouble)));

const askForEntry = task(async (signal) => {
  const name = entryInAddress();
  const { hits } = await get(entryPath(name), signal);
  showEntry(name, hits.map(({ entry }) => entry).filter(({ API }) => API.normalize() === name.normalize()));
  reached();
}, (trouble) => fillPanel(trouble.message, mayPass(trouble) ? " Trying again …" : ""));

const describe = task(async (signal) => {
  const catalogue = await get("v1/catalogue", signal);
  version = catalogue.version;
  showFoot(catalogue);
  reached();
}, showTrouble);

// --- what is asked

const isBlank = () => [...asked].length === 0;
const entryInAddress = () => new URLSearchParams(location.search).get("entry");
const values = (filter) => asked.getAll(filter);
const chosen = () => [...asked].filter(([name]) => name in FILTERS);

/** Take the search from the address. */
function readAddress() {
  clearTimeout(writing);
  const kept = ["q", "in", "sort", ...Object.keys(FILTERS)];
  asked = new URLSearchParams([...new URLSearchParams(location.search)].filter(([name, value]) => kept.includes(name) && value));
  box.value = asked.get("q") ?? "";
  $("sort").value = asked.get("sort")?.toLowerCase() ?? "relevance";
  settled = true;
  entitle();
}

/** Show what the address says: the search, unless it is shown already, and the panel of an entry. */
function arrive() {
  const before = `${asked}`;
  readAddress();
  if (`${asked}` !== before) ask();
  openOrClosePanel();
}

function entitle() {
  const subject = entryInAddress() ?? asked.get("q")?.trim();
  document.title = subject ? `${subject} · Apidex` : "Apidex";
}

const addressOf = (parameters) => ([...parameters].length ? `?${new URLSearchParams(parameters)}` : location.pathname);

/** Put the search into the address: at once as a new step of the history, or soon in place of the current one. */
function writeAddress({ step }) {
  clearTimeout(writing);
  const write = (how) => history[how](null, "", addressOf(asked));
  if (step) write("pushState");
  else writing = setTimeout(write, 150, "replaceState"); // browsers allow so many a second
  entitle();
}

function set(name, value) {
  if (value) asked.set(name, value);
  else asked.delete(name);
}

/** Search for what is in the box: at once (`ask`), or after the search under way (`ask.soon`). */
function typed(start) {
  const query = box.value.replace(/\p{Cc}/gu, " "); // a cell of a table may be pasted with its tabs
  set("q", query.trim() && query);
  writeAddress({ step: settled });
  settled = entered = false;
  start();
}

function look(change) {
  change();
  writeAddress({ step: true });
  settled = true;
  ask();
}

function toggle(filter, value, on) {
  look(() => {
    setUnderstood();
    const kept = values(filter).filter((each) => each.toLowerCase() !== value.toLowerCase());
    asked.delete(filter);
    for (const each of on ? [...kept, value] : kept) asked.append(filter, each);
  });
}

/** Set only one *value* of a filter. */
function setOnly(filter, value) {
  look(() => {
    setUnderstood();
    asked.set(filter, value);
  });
}

/** Set the filters that words of the query stand for, and remove these words: beside another filter, they may be searched. */
function setUnderstood() {
  const understood = Object.entries(answer?.understood ?? {});
  if (!understood.length || answer.query !== asked.get("q")) return;
  asked.set("q", answer.searched);
  for (const [filter, value] of understood) asked.append(filter, value);
  box.value = answer.searched;
}

function clearFilters() {
  look(() => Object.keys(FILTERS).forEach((filter) => asked.delete(filter)));
}

function searchFor(query) {
  box.value = query;
  settled = true;
  typed(ask);
  settled = true;
  if (hasKeyboard()) box.focus();
}

// --- showing

function showCategories({ categories, version }) {
  answer = null;
  $("categories").replaceChildren(
    ...categories.map(({ name, entries }) => {
      const link = element("a", { href: `?${new URLSearchParams({ category: name })}` }, name);
      link.append(element("span", { class: "number" }, number(entries)));
      return element("li", {}, link);
    }),
  );
  seen(version);
  turn({ toAnswer: false });
  say(categoriesOf(categories.length));
}

function show(found) {
  answer = found;
  $("count").textContent = found.total ? apis(found.total) : nothing(found.query);
  $("hits").replaceChildren(...found.hits.map(hitItem));
  $("none").replaceChildren(...(found.total ? [] : instead(found)));
  showMore(found.total);
  showChosen(found);
  // A page that was opened before a release may meet a filter that it does not know.
  for (const [filter, facets] of Object.entries(found.facets)) if (filter in FILTERS) showFilter(filter, facets);
  $("unfold").hidden = Object.values(found.facets).every((facets) => facets.length === 0);
  $("sort").hidden = found.total < 2;
  seen(found.version);
  turn({ toAnswer: true });
  const meant = found.did_you_mean ? `. ${question(found.did_you_mean).join(found.did_you_mean.query)}` : "";
  say(found.total ? `${apis(found.total)} found` : nothing(found.query) + meant);
}

function turn({ toAnswer }) {
  $("answer").hidden = !toAnswer;
  $("browse").hidden = toAnswer;
  $("skip").setAttribute("href", toAnswer ? "#found" : "#browse");
  $("hits").ariaBusy = "false";
  $("copied").replaceChildren();
}

function hitItem({ entry, highlights, description_highlights: inDescription = [] }) {
  const item = template("hit");
  item.querySelector("h3").append(linked(entry.Link, marked(entry.API, highlights)));
  item.querySelector(".about").append(...marked(entry.Description, inDescription));
  const facts = valuesOf(entry);
  item.querySelector(".facts").append(
    ...["category", "provider"].filter((filter) => facts[filter]).map((filter) => only(filter, facts[filter])),
    ...["auth", "https", "cors"].map((filter) => fact(word(filter, facts[filter]))),
    element("span", { class: "host" }, host(entry.Link)),
    detailsLink(entry.API),
  );
  return item;
}

/** The value of each filter for an entry, under the name that the API has for the filter. */
function valuesOf({ Category, Auth, HTTPS, Cors, Provider }) {
  return { category: Category, auth: Auth || "none", https: String(HTTPS), cors: Cors, provider: Provider };
}

function only(filter, value) {
  const made = button(value, () => setOnly(filter, value));
  made.ariaLabel = `Only ${value}`;
  return made;
}

const fact = (text) => element("span", GOOD.includes(text) ? { class: "good" } : {}, text);
const host = (address) => (URL.canParse(address) ? new URL(address).hostname.replace(/^www\./, "") : address);

function nothing(query) {
  return `No API fits${query && ` “${query}”`}${chosen().length ? " with these filters" : ""}`;
}

/** What stands before and behind another query. */
const question = ({ kind }) => (kind === "fewer_words" ? ["With fewer words: ", "."] : ["Did you mean ", "?"]);

/** Where nothing was found: another query and its hits, or a button that clears the filters. */
function instead({ did_you_mean: meant }) {
  if (meant) {
    const link = button(meant.query, () => searchFor(meant.query), "meant");
    const [before, after] = question(meant);
    return [
      element("p", {}, before, link, `${after} That finds ${apis(meant.total)}.`),
      element("ol", { "aria-label": `Results for ${meant.query}` }, ...meant.hits.slice(0, 5).map(hitItem)),
    ];
  }
  return chosen().length ? [element("p", {}, button("Search without filters", clearFilters))] : [];
}

function showMore(total) {
  const left = total - $("hits").children.length;
  $("more").hidden = left <= 0;
  $("more").ariaDisabled = "false";
  $("more").textContent = `Show ${number(Math.min(left, LIMIT))} more of ${number(total)}`;
}

/** A chip for each active filter, for each that words of the query stand for, and for the fields that are searched. */
function showChosen({ understood = {}, in: scope, facets }) {
  const set = chosen();
  const spelled = (filter, value) => facets[filter]?.find((each) => each.value.toLowerCase() === value.toLowerCase())?.value ?? value;
  const chips = [
    ...set.map(([filter, value]) => chip(word(filter, spelled(filter, value)), () => toggle(filter, value, false))),
    ...Object.entries(understood).map(([filter, value]) =>
      chip(`Understood: ${word(filter, value)}`, () => toggle(filter, value, false)),
    ),
  ];
  if (scope in SCOPES) chips.push(chip(SCOPES[scope], () => look(() => asked.delete("in"))));
  if (set.length > 1) chips.push(button("Clear all", clearFilters, "clear"));
  $("chosen").replaceChildren(...chips.map((each) => element("li", {}, each)));
  $("unfold").lastElementChild.textContent = set.length ? ` · ${set.length}` : "";
}

function chip(text, remove) {
  const made = button(`${text} ×`, remove);
  made.ariaLabel = `Without the filter ${text}`;
  return made;
}

const boxes = new Map(Object.keys(FILTERS).map((filter) => [filter, new Map()]));

function makeFilter(filter) {
  const made = template("filter");
  made.querySelector("legend").textContent = FILTERS[filter].label;
  made.querySelector(".all").addEventListener("click", () => {
    made.dataset.open = "";
    for (const label of made.querySelectorAll("label")) label.hidden = false;
    made.querySelector(".all").hidden = true;
    made.querySelectorAll("input")[CATEGORIES_AT_FIRST].focus();
  });
  $("filters").append(made);
}

/** The values of one filter. Each keeps its element, so that the focus stays while counts change. */
function showFilter(filter, facets) {
  const place = $("filters").children[Object.keys(FILTERS).indexOf(filter)];
  const inUse = [...values(filter), answer.understood?.[filter] ?? ""].map((value) => value.toLowerCase());
  const labels = facets.map(({ value, count }) => {
    const label = labelOf(filter, value);
    label.querySelector(".number").textContent = number(count);
    label.querySelector("input").checked = inUse.includes(value.toLowerCase());
    return label;
  });
  const few = "open" in place.dataset ? Infinity : CATEGORIES_AT_FIRST;
  labels.forEach((label, index) => (label.hidden = index >= few && !label.querySelector("input").checked));
  const hidden = labels.filter((label) => label.hidden).length;
  place.hidden = labels.length === 0;
  place.querySelector(".all").hidden = !hidden;
  place.querySelector(".all").textContent = `${number(hidden)} more`;
  putInPlace(place.querySelector(".values"), labels);
}

function labelOf(filter, value) {
  const known = boxes.get(filter);
  if (!known.has(value)) {
    const label = template("value");
    label.querySelector(".word").textContent = word(filter, value);
    label.querySelector("input").addEventListener("change", (event) => toggle(filter, value, event.target.checked));
    known.set(value, label);
  }
  return known.get(value);
}

function putInPlace(parent, children) {
  const isSame = children.length === parent.children.length && children.every((child, at) => child === parent.children[at]);
  if (isSame) return;
  const focused = document.activeElement;
  parent.replaceChildren(...children);
  if (focused !== document.activeElement && parent.contains(focused)) focused.focus({ preventScroll: true });
}

/** Announce *text* to screen readers when typing pauses, not at each key. */
function say(text) {
  clearTimeout(say.timer);
  say.timer = setTimeout(() => ($("said").textContent = text), 400);
}

// --- the panel of an entry

const panel = $("entry");
const entryPath = (name) => `v1/search?${new URLSearchParams({ q: name, in: "name", limit: 100 })}`;

function detailsLink(name) {
  const link = element("a", { href: addressOf([...asked, ["entry", name]]), class: "details" }, "Details");
  link.ariaLabel = `Details of ${name}`;
  return link;
}

/** The entry in the address has the panel. When it closes, the browser returns the focus to where it was. */
function openOrClosePanel() {
  const name = entryInAddress();
  if (!name) {
    askForEntry.stop();
    panel.close();
    return;
  }
  $("entry-name").textContent = name;
  $("copied-link").replaceChildren();
  $("as-json").href = entryPath(name);
  fillPanel();
  if (!panel.open) panel.showModal();
  $("entry-name").focus();
  askForEntry();
}

/** The panel was closed by a key or a button: then its entry leaves the address. */
function panelClosed() {
  if (!entryInAddress()) return;
  if (history.state?.isPanel) history.back();
  else {
    history.replaceState(null, "", addressOf(asked));
    arrive();
  }
}

const fillPanel = (...children) => $("entry-facts").replaceChildren(...children);

function showEntry(name, entries) {
  if (!entries.length) fillPanel("No API has this name now. ", element("a", { href: addressOf([["q", name]]) }, "Search for it"));
  else fillPanel(...(entries.length > 1 ? [element("p", {}, `${apis(entries.length)} have this name.`)] : []), ...entries.map(sheet));
}

/** All that the catalogue says of an entry. */
function sheet(entry) {
  const row = (term, value) => element("div", {}, element("dt", {}, term), element("dd", {}, value));
  const rows = Object.entries(valuesOf(entry)).filter(([, value]) => value).map(([filter, value]) =>
    row(FILTERS[filter].label, element("a", { href: addressOf([[filter, value]]) }, word(filter, value))),
  );
  if (entry.Link) rows.unshift(row("Link", linked(entry.Link, [entry.Link])));
  return element("article", {}, element("p", {}, entry.Description), element("dl", {}, ...rows));
}

// --- the foot, and trouble

function seen(newer) {
  if (version && newer !== version) describe();
}

function showFoot(catalogue) {
  const { state, entries, source, served_by: replica, upstream, redis } = catalogue;
  const checked = `${ago(catalogue.age)} ago`;
  const told = {
    fresh: ["fresh", `, checked ${checked} at `, origin(source)],
    stale: ["stale", `, last checked ${checked} at `, origin(source), because(upstream)],
    bundled: ["the starter list of Apidex", `, ${ago(catalogue.age)} old; `, origin(upstream.url), " has not been fetched yet", because(upstream)],
  }[state] ?? [state];
  const [first, ...rest] = told;
  $("foot").replaceChildren(
    `${apis(entries)} in `, element("a", { href: "v1/categories" }, categoriesOf(catalogue.categories)), " · ",
    element("span", { class: `state ${state}` }, first), ...rest,
    redis.reachable ? "" : " · Redis cannot be used; this replica runs standalone",
    ` · answered by ${replica} · `, element("a", { href: "v1/catalogue" }, "details"),
  );
}

const origin = (source) => linked(source, [/^https?:/.test(source) ? host(source) : source]);
const because = ({ last_failure: failure }) => (failure ? ` (${failure.detail.replace(/\.$/, "")})` : "");

function ago(seconds) {
  const units = { day: 86_400, hour: 3_600, minute: 60, second: 1 };
  const [unit, size] = Object.entries(units).find(([, size]) => seconds >= size) ?? ["second", 1];
  const count = Math.floor(seconds / size);
  return `${number(count)} ${unit}${count === 1 ? "" : "s"}`;
}

const mayPass = ({ status }) => !status || status >= 500 || status === 429;

/** The service answered: it is not unreachable any more. The trouble is shown until the search is answered too. */
function reached() {
  if (!trouble || !mayPass(trouble)) return;
  if ($("hits").ariaBusy === "true") {
    ask.soon();
    return;
  }
  hideTrouble();
  describe();
}

function hideTrouble() {
  trouble = null;
  $("trouble").hidden = true;
}

function showTrouble(error) {
  const isNews = error.message !== trouble?.message;
  trouble = error;
  if (mayPass(error)) $("foot").replaceChildren(element("span", { class: "state away" }, "unreachable"));
  else $("answer").hidden = $("browse").hidden = true;
  if (isNews) $("trouble").replaceChildren(...(mayPass(error) ? [error.message, ` ${waiting()}`] : refusal(error)));
  $("trouble").hidden = false;
}

const waiting = () => ($("answer").hidden && $("browse").hidden ? "" : "Showing earlier results. ") + "Trying again …";

function refusal({ message, parameter }) {
  const without = () => look(() => (asked.delete(parameter), (box.value = asked.get("q") ?? "")));
  if (!asked.has(parameter)) return [message];
  return [message.replace(/; allowed.*/s, "."), button("Search without it", without)]; // what is allowed can be browsed
}

// --- copying

const absolute = (path) => new URL(path, location.href).href;
const curl = () => `curl '${absolute(isBlank() ? "v1/search" : searchPath()).replaceAll("'", "%27")}'`;
const entryLink = () => absolute(addressOf([["entry", entryInAddress()]]));

/** Without a secure origin there is no clipboard: *text* is shown in *place*, and selected instead. */
async function copy(text, place) {
  const code = element("code", {}, text);
  const copied = await navigator.clipboard?.writeText(text).then(() => true, () => false);
  place.replaceChildren(copied ? "Copied" : "Copy this:", code);
  if (!copied) getSelection().selectAllChildren(code);
}

// --- keys

const hits = () => [...document.querySelectorAll(".hit h3 > *")].filter((name) => name.checkVisibility());
const hasKeyboard = () => matchMedia("(pointer: fine)").matches; // on a touch screen, a box with the focus brings up a keyboard

function move(step) {
  const links = hits();
  const at = links.indexOf(document.activeElement);
  const to = at < 0 ? (step > 0 ? 0 : -1) : at + step;
  if (to < 0) toBox();
  else links[Math.min(to, links.length - 1)]?.focus();
}

function toBox() {
  box.focus();
  box.select();
}

/** Escape goes one step back: from the results to the box, from what is typed to nothing, from filters to none. */
function back() {
  if (document.activeElement !== box) toBox();
  else if (box.value) searchFor("");
  else if (!isBlank()) look(() => (asked = new URLSearchParams()));
}

function key(event) {
  const { target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || panel.open) return;
  const isText = target === box;
  const isHit = hits().includes(target);
  const acts = {
    "/": !isText && (() => toBox()),
    Escape: target.tagName !== "SELECT" && back,
    ArrowDown: (isText || isHit) && (() => move(1)),
    ArrowUp: isHit && (() => move(-1)),
  };
  const act = Object.hasOwn(acts, event.key) && acts[event.key];
  if (!act) return;
  event.preventDefault();
  act();
}

/** After Enter, when what was typed is answered: to the first result, or to what may have been meant. Another Enter opens it. */
function enter() {
  if (!entered || $("hits").ariaBusy === "true" || (answer?.query ?? "") !== (asked.get("q") ?? "")) return;
  entered = false;
  if (document.activeElement !== box) return;
  if (answer?.did_you_mean) searchFor(answer.did_you_mean.query);
  else hits()[0]?.focus();
}

/** Links to this page are followed without loading it again; with a modifier they open as any other. */
function follow(event) {
  const link = event.target.closest?.("a[href^='?'], #home");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  const isPanel = link.matches(".details");
  history.pushState({ isPanel }, "", link.href);
  arrive();
  if (isPanel) return;
  scrollTo(0, 0);
  if (hasKeyboard()) toBox();
}

// --- beginning

Object.keys(FILTERS).forEach(makeFilter);
box.addEventListener("input", () => typed(ask.soon));
box.addEventListener("change", () => (settled = true));
$("search").addEventListener("submit", (event) => {
  event.preventDefault();
  settled = entered = true;
  enter();
});
$("sort").addEventListener("change", () => look(() => set("sort", $("sort").value !== "relevance" && $("sort").value)));
$("more").addEventListener("click", () => $("more").ariaDisabled === "true" || askForMore());
$("copy").addEventListener("click", () => copy(curl(), $("copied")));
$("copy-link").addEventListener("click", () => copy(entryLink(), $("copied-link")));
panel.addEventListener("close", panelClosed);
$("unfold").addEventListener("click", () => ($("unfold").ariaExpanded = String($("unfold").ariaExpanded !== "true")));
document.addEventListener("keydown", key);
document.addEventListener("click", follow);
addEventListener("popstate", arrive);
addEventListener("online", () => describe());
setInterval(() => document.hidden || describe(), REFRESH);
document.addEventListener("visibilitychange", () => document.hidden || describe());

readAddress();
ask();
describe();
if (!box.value && hasKeyboard()) box.focus({ preventScroll: true }); // computes a layout
openOrClosePanel();
