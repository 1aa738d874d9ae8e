// The explorer. Titles and all other data become text nodes, never HTML.
"use strict";

const page = { model: null, user: null, picks: [], past: [], orders: {}, key: "", stages: null, asked: 0, map: null, moment: "" };
const at = (id) => document.getElementById(id);

const SHOWN = 16; // events of the past, and titles that were found
const OLD = 30 * 86400; // seconds

/** An element with properties, data and children; text stays text. */
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "scope") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function say(text, bad = false) {
  at("status").textContent = text;
  at("status").className = bad ? "bad" : "soft";
}

async function ask(path, body) {
  const headers = page.key ? { Authorization: `Bearer ${page.key}` } : {};
  const options = body === undefined ? { headers } : { method: "POST", headers, body: JSON.stringify(body) };
  const response = await fetch(path, options);
  const found = await response.json();
  if (!response.ok) throw new Error(found.error || `The server answered ${response.status}.`);
  return found;
}

/** Runs an action; its error is said, not thrown. */
async function tried(action) {
  try {
    await action();
  } catch (error) {
    say(error.message, true);
  }
}

const get = (what, parameters = {}) => ask(`page/${what}?${new URLSearchParams(parameters)}`);
const number = (value, digits = 2) => Number(value).toFixed(digits);

function day(seconds) {
  return seconds > 0 ? new Date(seconds * 1000).toISOString().slice(0, 10) : "";
}

/** The items of a list, each with its id beside the title if another one has the same title. */
function distinct(items) {
  const ids = new Map();
  for (const item of items) ids.set(item.title, (ids.get(item.title) || new Set()).add(item.item_id));
  return items.map((item) => (ids.get(item.title).size > 1 ? { ...item, title: `${item.title} (${item.item_id})` } : item));
}

function picture(item) {
  const allowed = document.documentElement.dataset.images;
  if (!allowed || !item.image || new URL(item.image, location.href).origin !== allowed) return null;
  return make("img", { src: item.image, alt: "", loading: "lazy" });
}

// Whom to answer.

function readPart(feature, text) {
  const parts = feature.rank === 2 ? text.split(",").map((part) => part.trim()).filter(Boolean) : [text.trim()];
  const values = parts.map((part) => (part === "" ? null : feature.type === "string" ? part : Number(part)));
  return feature.rank === 2 ? values : values[0];
}

/** The seconds of a panel's Moment; null: now. */
function momentOf(panel) {
  const text = document.querySelector(`form[data-panel="${panel}"]`).moment.value;
  return text ? Math.floor(new Date(text).getTime() / 1000) : null;
}

/** The query besides the settings: a user id, or the features of an invented user at a moment. */
function query(moment) {
  if (page.user !== null) return { user_id: page.user };
  const features = {}, now = moment ?? Math.floor(Date.now() / 1000);
  const silent = page.model.store && !page.picks.length; // what a request leaves out comes from the store
  for (const feature of page.model.features) {
    if (silent && (feature.name.startsWith("history_") || feature.name === "timestamp")) continue;
    if (feature.name === "history_item_id") features[feature.name] = page.picks.map((item) => item.item_id);
    else if (feature.name === "history_timestamp") {
      features[feature.name] = page.picks.map((item, place) => now - 60 * (page.picks.length - place));
    } else if (feature.name === "timestamp") features[feature.name] = now;
    else if (feature.name.startsWith("history_") && !page.model.store) { // what else is told of picks, and other histories
      const ofPicks = ["history_event", "history_dwell"].includes(feature.name);
      features[feature.name] = ofPicks ? page.picks.map(() => null) : [];
    } else if (!feature.name.startsWith("history_")) {
      const field = at(`profile-${feature.name}`);
      if (field && field.value.trim()) features[feature.name] = readPart(feature, field.value);
      else if (!page.model.store) features[feature.name] = feature.rank === 2 ? (feature.size ? null : []) : null;
    }
  }
  return { features };
}

function showPast() {
  const all = page.user === null ? [...page.picks].reverse() : page.past, items = distinct(all.slice(0, SHOWN));
  at("past-title").textContent = page.user === null ? "Past of the invented user" : `Past of user ${page.user}`;
  at("past").replaceChildren(...items.map((item) => make("li", {},
    picture(item), make("button", { type: "button", onclick: () => similar(item) }, item.title),
    make("span", { className: "soft" }, [day(item.timestamp), item.event].filter(Boolean).join(" ")),
    page.user === null
      ? make("button", { type: "button", "aria-label": `Remove ${item.title}`, onclick: () => drop(item) }, "×") : null)));
  if (all.length > SHOWN) at("past").append(make("li", { className: "soft" }, `and ${all.length - SHOWN} more`));
  if (!items.length) at("past").append(make("li", {}, "Nothing yet: a stranger."));
}

function drop(item) {
  page.picks = page.picks.filter((other) => other.item_id !== item.item_id);
  showPast();
  return tried(answer);
}

function pick(item) {
  page.user = null;
  page.picks = [...page.picks.filter((other) => other.item_id !== item.item_id), item];
  say(`${item.title} is in the past of the invented user.`);
  showPast();
  return tried(answer);
}

async function showUser(user) {
  const found = await get("user", { id: user });
  if (page.user !== user) page.orders = {}; // nobody's answer has moved
  page.user = user;
  page.past = found.past;
  startMoment(Math.max(0, ...found.past.map((event) => event.timestamp)));
  const known = Object.entries(found.profile).map(([name, value]) => `${name}: ${value}`).join(", ");
  say(`User ${user}: ${found.past.length ? `${found.past.length} newest events` : "no events"}. ${known}`);
  showPast();
  await answer();
}

async function find(text) {
  const { items } = await get("items", { q: text });
  at("found").replaceChildren(...distinct(items.slice(0, SHOWN)).map((item) => make("li", {}, picture(item),
    make("button", { type: "button", onclick: () => pick(item) }, `+ ${item.title}`))));
  say(items.length ? "Pick some of these titles." : "No title holds this.");
}

// What the server offers.

function rule(form, name) {
  const attribute = page.model.attributes.find((one) => one.name === form[`${name}-name`].value);
  const text = form[`${name}-value`].value.trim();
  if (!attribute || !text) return null;
  if (attribute.kind === "number") {
    const [least, most] = text.split("..");
    const range = {};
    if (least) range.min = Number(least);
    if (most === undefined ? least : most) range.max = Number(most === undefined ? least : most);
    return { [attribute.name]: range };
  }
  if (attribute.kind === "truth value") return { [attribute.name]: ["true", "yes", "1"].includes(text.toLowerCase()) };
  const parts = text.split(",").map((part) => part.trim()).filter(Boolean);
  return { [attribute.name]: parts.length > 1 ? parts : parts[0] };
}

function request(panel) {
  const form = document.querySelector(`form[data-panel="${panel}"]`);
  const moment = momentOf(panel), asked = { ...query(moment), explain: page.model.explains };
  asked.k = form.k.value === "" ? 10 : Number(form.k.value); // what is out of bounds is the server's to refuse
  asked.fields = [page.model.title, page.model.image].filter(Boolean);
  if (form.version.value) asked.version = Number(form.version.value);
  if (Number(form.beta.value)) asked.popularity_beta = Number(form.beta.value);
  if (Number(form.diversity.value)) asked.diversity = Number(form.diversity.value);
  if (form.seen.value) asked.exclude_seen = form.seen.value === "yes";
  if (moment !== null) asked.features = { ...asked.features, timestamp: moment };
  const channels = [...form.querySelectorAll(".channels input")].filter((input) => Number(input.value) !== 0);
  if (channels.length) asked.channels = Object.fromEntries(channels.map((input) => [input.name, Number(input.value)]));
  const weights = [...form.querySelectorAll(".objectives input")].filter((input) => Number(input.value));
  if (weights.length) {
    asked.objectives = Object.fromEntries(weights.map((input) => [input.dataset.name, Number(input.value)]));
  }
  for (const name of ["allow", "deny"]) {
    const found = rule(form, name);
    if (found) asked[name] = found;
  }
  return asked;
}

/** The column of a field: "gender" of "category_gender". */
function spoken(field) {
  const columns = [...page.model.features.map((feature) => feature.name), "user_id"];
  return columns.find((column) => field.endsWith(column)) || field;
}

const PLAIN = { user_id: "this user", timestamp: "the moment" };

/** A few words: what carries the item's score most. */
function reason(item) {
  const why = item.explanation;
  if (item.channel === "popular") return "popular";
  if (item.channel === "fresh") return "new";
  if (item.channel === "i2i") return "like an item of the past";
  if (!why) return "";
  const named = why.events.filter((event) => event.share > 0);
  const shares = [
    [named.reduce((sum, event) => sum + event.share, why.other_events), `because of ${named.slice(0, 2).map((e) => e.title).join(" and ") || "the past"}`],
    [why.popularity, "popular"], [why.repeats, "had it before"], [why.rest, "several things together"],
    ...Object.entries(why.features).map(([name, share]) => [share, `fits ${PLAIN[spoken(name)] || spoken(name)}`]),
  ].filter(([share]) => share > 0).sort((a, b) => b[0] - a[0]);
  return shares.slice(0, 2).map(([, text]) => text).join("; ");
}

function bars(why) {
  const rows = [
    ...why.events.map((event) => [event.title, event.share]),
    ...(why.other_events ? [["other events", why.other_events]] : []),
    ...Object.entries(why.features).map(([name, share]) => [spoken(name), share]), ["popularity", why.popularity],
    ...(why.repeats ? [["had it before", why.repeats]] : []), ["rest", why.rest],
  ];
  const largest = Math.max(...rows.map(([, share]) => Math.abs(share)), 1e-9);
  return make("table", { className: "shares" }, make("tbody", {}, ...rows.map(([name, share]) => {
    const bar = make("div", { className: share < 0 ? "bar minus" : "bar" });
    bar.style.width = `${(100 * Math.abs(share)) / largest}%`;
    return make("tr", {}, make("td", {}, name), make("td", {}, bar), make("td", {}, number(share)));
  })));
}

function why(item) {
  const told = item.explanation;
  if (!told) return null;
  const parts = [bars(told), make("p", { className: "soft" },
    `The average item has ${number(told.base)}; with these shares it is ${number(told.score)}.` +
    (told.method === "exact" ? "" : " A share is how much lower the score is without that event or feature."))];
  if (told.without) {
    const offered = told.without.offered.map((one) => one.title).join(", ");
    parts.push(make("p", { className: "soft" }, `Without ${told.without.title}: ` +
      (told.without.place ? `place ${told.without.place}` : "not offered") + (offered ? `; new: ${offered}.` : ".")));
  }
  return make("details", {}, make("summary", {}, "Why"), ...parts);
}

function moved(panel, item, place) {
  const before = page.orders[panel];
  if (!before) return "";
  const was = before.indexOf(item.item_id);
  return was < 0 ? "new" : was > place ? `↑ ${was - place}` : was < place ? `↓ ${place - was}` : "";
}

function titled(item) {
  const fields = item.fields || {};
  const title = fields[page.model.title];
  return { ...item, title: String(title || item.item_id), image: fields[page.model.image] };
}

function showAnswer(panel, found, milliseconds) {
  const items = distinct(found.items.map(titled));
  at(`answer-${panel}`).replaceChildren(...items.map((item, place) => make("li", {},
    picture(item) || make("span"),
    make("div", {}, make("div", { className: "line" }, make("div", {},
      make("div", { className: "head" }, make("span", { className: "name" }, item.title),
        make("span", { className: "tag", title: "channel and its score" }, `${item.channel} ${number(item.score)}`),
        make("span", { className: "moved" }, moved(panel, item, place))),
      make("div", { className: "soft" }, reason(item))),
      make("div", { className: "actions" },
        make("button", { type: "button", "aria-label": `Choose ${item.title}`, onclick: () => choose(item) }, "Choose"),
        make("button", { type: "button", "aria-label": `Items like ${item.title}`, onclick: () => similar(item) }, "Like this"))),
      why(item)))));
  page.orders[panel] = items.map((item) => item.item_id);
  at(`took-${panel}`).textContent = items.length
    ? `Version ${found.model_version}, ${number(milliseconds, 0)} ms with the way there and the reasons.`
    : "The rules leave nothing to offer.";
}

async function answer() {
  const asked = ++page.asked, panels = at("panel-b").hidden ? ["a"] : ["a", "b"];
  for (const panel of panels) {
    const start = performance.now();
    const found = await ask("v1/recommend", request(panel)).catch((error) => ({ error }));
    if (asked !== page.asked) return; // a later question is on its way
    if (found.error) {
      for (const old of [`answer-${panel}`, `took-${panel}`, "differ"]) at(old).replaceChildren(); // of another question
      throw found.error;
    }
    showAnswer(panel, found, performance.now() - start);
  }
  if (at("status").className === "bad") say(""); // that question is no longer asked
  const [a, b] = [page.orders.a || [], page.orders.b || []];
  at("differ").textContent = panels.length < 2 ? ""
    : `${a.filter((item) => b.includes(item)).length} of ${Math.max(a.length, b.length)} items are in both answers.`;
  marks();
}

async function choose(item) {
  if (page.user === null) return pick(item);
  return tried(async () => {
    const bytes = crypto.getRandomValues(new Uint8Array(12));
    const name = `page-${[...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
    const user = page.user, moment = momentOf("a");
    const event = { event_id: name, user_id: user, item_id: item.item_id };
    await ask("v1/events", { events: [moment === null ? event : { ...event, timestamp: moment }] });
    await showUser(user);
    say(`User ${user} chose ${item.title}${moment === null ? "" : ` on ${day(moment)}`}: the answer has moved.`);
  });
}

function similar(item) {
  return tried(async () => {
    const found = await get("similar", { item: item.item_id });
    at("similar-title").textContent = `Items like ${found.item.title}`;
    at("similar").replaceChildren(...distinct(found.items).map((one) => make("li", {}, picture(one),
      make("button", { type: "button", onclick: () => similar(one) }, one.title),
      make("span", { className: "soft" }, number(one.score)))));
    at("similar-section").hidden = false;
    at("similar-title").focus();
    say(`${found.items.length} items like ${found.item.title}.`);
  });
}

// The map.

const shape = (tag, attributes) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
};

function drawMap() {
  const { items, column, of, shown } = page.map, counts = new Map();
  for (const [, , , , group] of items) counts.set(group, (counts.get(group) || 0) + 1);
  const groups = [...counts.keys()].filter((group) => group !== null).sort((a, b) => counts.get(b) - counts.get(a)).slice(0, 7);
  const colour = (group) => (groups.includes(group) ? groups.indexOf(group) : 7);
  const height = Math.max(...items.map((item) => Math.abs(item[3])), 0.2) + 0.06;
  at("map").setAttribute("viewBox", `-1.06 ${-height} 2.12 ${2 * height}`);
  const unit = 2.12 / (at("map").clientWidth || 900), narrow = unit > 2.12 / 600; // unit: of a pixel
  page.dots = new Map();
  page.radius = Math.max(0.008, 2.6 * unit);
  const dots = [...items].reverse().map(([id, title, x, y, group]) => {
    const dot = shape("circle", { cx: x, cy: -y, r: page.radius, class: `c${colour(group)}` });
    dot.addEventListener("pointerenter", () => { at("map-at").textContent = title; });
    dot.addEventListener("click", () => similar({ item_id: id, title }));
    page.dots.set(id, dot);
    return dot;
  });
  const taken = [], labels = [];
  for (const [, title, x, y] of items) { // the most popular first; a label that would cover another is left out
    const text = title.length > 26 ? `${title.slice(0, 25)}…` : title, width = 6.6 * unit * text.length;
    const left = x + width > 1.02 ? x - width - 0.02 : x + 0.015;
    if (left < -1.04 || taken.some(([l, t, w]) => left < l + w && l < left + width && Math.abs(t - y) < 16 * unit)) continue;
    taken.push([left, y, width]);
    const label = shape("text", { transform: `translate(${left} ${-y + 4 * unit}) scale(${unit})` });
    label.textContent = text;
    labels.push(label);
    if (labels.length === (narrow ? 5 : 16)) break;
  }
  at("map").replaceChildren(...dots, ...labels);
  at("map-said").textContent = `Items that lie near each other have like vectors. ` +
    `${items.length.toLocaleString("en")} of ${of.toLocaleString("en")} items; the plane shows ${number(100 * shown, 0)}% of the vectors' variance.`;
  const key = (name, ...classes) => {
    const dot = make("i");
    dot.className = classes.join(" ");
    return make("li", {}, dot, name);
  };
  at("map-groups").replaceChildren(
    ...(column ? [make("li", { className: "soft" }, column)] : []), ...groups.map((group, place) => key(group, `c${place}`)),
    key(groups.length ? "others" : "items", "c7"), key("in the past", "ring", "past"), key("offered in answer A", "ring", "offered"));
}

function marks() {
  if (!page.dots) return;
  const past = new Set((page.user === null ? page.picks : page.past).map((item) => item.item_id));
  const offered = new Set(page.orders.a || []);
  for (const [id, dot] of page.dots) {
    dot.classList.toggle("past", past.has(id));
    dot.classList.toggle("offered", offered.has(id));
    dot.setAttribute("r", past.has(id) || offered.has(id) ? 1.6 * page.radius : page.radius);
  }
}

// Health.

async function live() {
  const found = await get("state"), before = page.stages || {};
  at("versions").replaceChildren(...found.versions.map((one) => make("tr", {}, make("td", {}, String(one.version)),
    make("td", { className: one.error ? "bad" : "" }, one.error ? `${one.state}: ${one.error}` : one.state))));
  at("degraded").textContent = found.degraded.length ? `Degraded: ${found.degraded.join(", ")}.` : "All parts work.";
  at("degraded").className = found.degraded.length ? "bad" : "soft";
  at("stages").replaceChildren(...Object.entries(found.stages).map(([name, [count, seconds]]) => {
    const [was, spent] = before[name] || [0, 0];
    const mean = (s, n) => (n > 0 ? number((1000 * s) / n) : "–");
    return make("tr", {}, make("td", {}, name), make("td", {}, mean(seconds - spent, count - was)),
      make("td", {}, mean(seconds, count)), make("td", {}, count.toLocaleString("en")));
  }));
  page.stages = found.stages;
  const serving = found.versions.filter((one) => one.state === "available").map((one) => String(one.version));
  for (const select of document.querySelectorAll('select[name="version"]')) {
    const chosen = select.value;
    select.replaceChildren(make("option", { value: "" }, "newest"),
      ...serving.map((version) => make("option", { value: version }, version)));
    select.value = serving.includes(chosen) ? chosen : "";
  }
  return found;
}

async function follow() {
  try {
    if (!document.hidden) await live();
  } catch (error) {
    at("degraded").textContent = `The server does not answer: ${error.message}`;
    at("degraded").className = "bad";
  }
  setTimeout(follow, 5000);
}

// Start.

/** Of a log that ended long ago, such as a sample, today's answer says little: the page asks just after its newest event.
    A moment that the reader set, or emptied, stays. */
function startMoment(newest = 0) {
  const until = Math.max(page.model.until || 0, newest), timed = page.model.features.some((one) => one.name === "timestamp");
  const old = timed && until > 0 && Date.now() / 1000 - until > OLD;
  const then = new Date(1000 * (until + 60)); // the field has minutes, of the reader's own clock
  const text = old ? new Date(then - 60000 * then.getTimezoneOffset()).toISOString().slice(0, 16) : "";
  for (const form of document.querySelectorAll("form[data-panel]")) {
    form.querySelector(".moment").hidden = !timed;
    if (form.moment.value === page.moment) form.moment.value = text;
  }
  page.moment = text;
  at("old-log").hidden = !old;
  at("old-log").textContent = `The newest event known here is of ${day(until)}. So Moment starts there, and what you ` +
    "choose is recorded at that moment. Empty it to ask for now.";
}

function fillForms() {
  for (const form of document.querySelectorAll("form[data-panel]")) {
    form.k.max = Math.min(50, page.model.most);
    form.querySelector(".channels").replaceChildren(...page.model.channels.filter((name) => name !== "u2i").map((name) =>
      make("label", {}, name, make("input", { type: "number", name, min: 0, max: 50, value: 0 }))));
    const objectives = form.querySelector(".objectives"); // their names are data: a form has its own
    objectives.replaceChildren(...page.model.objectives.map((name) =>
      make("label", {}, name, make("input", { type: "number", "data-name": name, step: 0.1, value: 0 }))));
    objectives.parentElement.hidden = !page.model.objectives.length;
    for (const name of ["allow", "deny"]) {
      const select = form[`${name}-name`];
      select.append(...page.model.attributes.map((one) => make("option", { value: one.name }, one.name)));
      select.addEventListener("change", () => {
        const one = page.model.attributes.find((other) => other.name === select.value);
        at(`values-${form.dataset.panel}-${name}`).replaceChildren(
          ...(one ? one.values : []).map((value) => make("option", { value })));
      });
    }
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", () => {
      form["beta-out"].value = Number(form.beta.value) ? form.beta.value : "as trained";
      form["diversity-out"].value = form.diversity.value;
    });
    form.addEventListener("change", () => tried(answer));
  }
}

function fillProfile() {
  const own = page.model.features.filter((one) => !one.name.startsWith("history_") && one.name !== "timestamp" &&
    !(one.rank === 2 && one.size));
  at("profile").hidden = !own.length;
  at("profile-fields").replaceChildren(...own.map((one) => make("label", {}, one.name,
    make("input", { id: `profile-${one.name}`, autocomplete: "off", onchange: () => {
      page.user = null;
      showPast();
      return tried(answer);
    } }))));
}

async function start() {
  page.model = await get("model");
  at("summary").textContent = `Version ${page.model.version} · ${page.model.items.toLocaleString("en")} items`;
  at("key-form").hidden = true;
  at("main").hidden = false;
  at("no-store").hidden = page.model.store;
  at("user-form").querySelector(".row").hidden = !page.model.store;
  if (innerWidth < 700) document.querySelector("#panel-a .knobs").open = false;
  fillForms();
  startMoment();
  fillProfile();
  showPast();
  say("Ready. Show a user, or pick a few titles.");
  await Promise.all([follow(), tried(answer), tried(() => find(""))]);
  page.map = await get("map");
  const draw = () => {
    drawMap();
    marks();
  };
  draw();
  addEventListener("resize", draw);
}

at("user-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const user = at("user").value.trim();
  if (user) tried(() => showUser(user));
  else say("Type the id of a user.", true);
});
at("invent-form").addEventListener("submit", (event) => {
  event.preventDefault();
  tried(() => find(at("find").value));
});
at("stranger").addEventListener("click", () => {
  [page.user, page.picks, page.orders] = [null, [], {}];
  startMoment();
  say("A stranger: no past, no profile.");
  showPast();
  tried(answer);
});
at("compare").addEventListener("click", () => {
  const open = at("panel-b").hidden;
  at("panel-b").hidden = !open;
  at("compare").setAttribute("aria-pressed", String(open));
  if (open) document.querySelector("#panel-b .knobs").open = true;
  tried(answer);
});
at("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  page.key = at("key").value.trim();
  tried(start);
});
if (document.documentElement.dataset.key) {
  at("key-form").hidden = false;
  at("summary").textContent = "This server needs a key.";
} else tried(start);
