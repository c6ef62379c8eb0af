// The page at /: photos in, answers drawn. Every word of the server is set as text, never as markup.
"use strict";
const $ = (id) => document.getElementById(id);
const LIMITS = { photos: Number(document.body.dataset.photos), bytes: Number(document.body.dataset.photoBytes) };
const EXPLAINS = document.body.dataset.explains === "true";
const words = { keys: {} };
let photos = [], current = 0, asked = 0, heats = new Map();

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children.filter((child) => child !== null));
  return made;
}

const percent = (share) => (share > 0.995 ? ">99%" : share < 0.005 ? "<1%" : `${Math.round(100 * share)}%`);

async function call(path, options = {}) {
  const key = $("key")?.value;
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch {
    throw new Error("The server cannot be reached. Is it still running?");
  }
  if (!response.ok) {
    const problem = await response.json().catch(() => ({ detail: response.statusText }));
    throw new Error(problem.detail);
  }
  return response;
}

async function learnWords() {
  try {
    Object.assign(words, await (await call("v1/taxonomy")).json());
  } catch {
    return; // a key may be missing; the answers name their keys anyway
  }
  if ($("category").length === 1) {
    for (const name of words.categories) $("category").append(element("option", { value: name, textContent: name }));
  }
}

function choose(files) {
  const taken = [...files].filter((file) => file.size > 0).slice(0, LIMITS.photos);
  if (taken.length === 0) return;
  const large = taken.find((file) => file.size > LIMITS.bytes);
  photos.forEach((photo) => URL.revokeObjectURL(photo.url));
  photos = taken.map((file) => ({ file, url: URL.createObjectURL(file) }));
  $("drop").hidden = true;
  $("shown").hidden = $("again").hidden = false;
  $("thumbs").hidden = photos.length < 2;
  $("thumbs").replaceChildren(...photos.map(thumb));
  show(0);
  if (large) return fail(`${large.name} is larger than ${LIMITS.bytes / 2 ** 20} MB.`);
  ask();
}

function thumb(photo, number) {
  const button = element("button", { type: "button" }, element("img", { src: photo.url, alt: `Photo ${number + 1}` }));
  button.addEventListener("click", () => show(number));
  return element("li", {}, button);
}

function show(number) {
  current = number;
  $("photo").src = photos[number].url;
  $("photo").alt = `Product photo ${number + 1} of ${photos.length}: ${photos[number].file.name}`;
  [...$("thumbs").querySelectorAll("button")].forEach((one, n) => one.setAttribute("aria-pressed", n === number));
  cool();
}

function fail(text) {
  $("problem").textContent = text;
  $("problem").hidden = false;
  $("answer").hidden = $("status").hidden = $("intro").hidden = true;
}

async function ask() {
  const mine = ++asked;
  $("problem").hidden = $("intro").hidden = true;
  $("status").hidden = false;
  $("status").textContent = "Looking at it …";
  $("status").classList.add("busy");
  const form = new FormData();
  photos.forEach((photo) => form.append("photos", photo.file, "photo"));
  if ($("category").value) form.append("category", $("category").value);
  if ($("title").value) form.append("title", $("title").value);
  if ($("fill").checked) form.append("fill", "all");
  const start = performance.now();
  try {
    const answer = await (await call("v1/predict", { method: "POST", body: form })).json();
    if (mine !== asked) return;
    draw(answer, performance.now() - start);
  } catch (error) {
    if (mine === asked) fail(error.message);
  } finally {
    if (mine === asked) $("status").classList.remove("busy");
  }
  if (!words.categories) learnWords();
}

function draw(answer, took) {
  heats = new Map();
  cool();
  const rows = Object.entries(answer.attributes);
  const sure = rows.filter(([, one]) => one.status === "answered");
  const unsure = rows.filter(([, one]) => one.status === "abstained");
  const category = answer.category;
  $("answer").replaceChildren(...[
    element("div", { className: "verdict" },
      element("strong", { textContent: category.value }),
      element("span", { className: "percent", textContent: percent(category.confidence) }),
      where("category", null, category.value)),
    bar(category.confidence),
    others("or", category.alternatives.filter((one) => one.confidence >= 0.005)),
    ...group("Sure enough to fill in", sure),
    ...group("Left to a person", unsure),
  ].filter((part) => part !== null));
  $("answer").hidden = false;
  const left = answer.faults.map((fault) => `Photo ${fault.photo} was left out: ${fault.reason}.`);
  answer.faults.forEach((fault) => $("thumbs").querySelectorAll("button")[fault.photo - 1]?.classList.add("left-out"));
  $("status").textContent = `${sure.length} filled, ${unsure.length} left open, ${Math.round(took)} ms. ${left.join(" ")}`;
  $("model").textContent = `model ${answer.bundle}`;
}

function group(title, rows) {
  if (rows.length === 0) return [];
  const heading = element("h3", {}, title, element("small", { textContent: `${rows.length}` }));
  return [heading, element("ul", {}, ...rows.map(([key, one]) => row(key, one)))];
}

function row(key, one) {
  const answered = one.status === "answered";
  const name = words.keys[key]?.title || key.replaceAll("_", " ");
  const best = answered ? null : one.alternatives[0];
  const value = answered ? one.values : best ? [best.value] : [];
  const confidence = answered ? one.confidence : best ? best.confidence : 0;
  const shown = value.map((word) => words.keys[key]?.titles[word] || word).join(", ") || "none of its values";
  const text = answered ? element("b", { textContent: shown }) : element("span", { textContent: `perhaps ${shown}` });
  const rest = (answered ? one.alternatives : one.alternatives.slice(1)).filter((other) => other.confidence >= 0.05);
  return element("li", { className: one.status },
    element("span", { className: "key", textContent: name }),
    element("div", { className: "value" }, text, bar(confidence), others("or", rest.slice(0, 2))),
    element("span", { className: "percent", textContent: percent(confidence) }),
    value.length ? where(name, key, value[0]) : element("span"));
}

function bar(share) {
  const filled = element("i");
  filled.style.width = `${Math.min(100, 100 * share)}%`;
  const made = element("div", { className: "bar" }, filled);
  made.setAttribute("aria-hidden", "true"); // the percentage stands beside it
  return made;
}

function others(word, alternatives) {
  if (alternatives.length === 0) return null;
  const said = alternatives.map((one) => `${one.value} ${percent(one.confidence)}`);
  return element("p", { className: "others" }, `${word} `, ...said.flatMap((text, n) =>
    [n ? ", " : "", element("span", { textContent: text })]));
}

function where(name, key, value) {
  if (!EXPLAINS) return element("span");
  const button = element("button", { type: "button", className: "where", textContent: "where?" });
  button.setAttribute("aria-label", `Show where in the photo ${name} ${value} comes from`);
  button.setAttribute("aria-pressed", "false");
  button.addEventListener("click", () => explain(button, name, key, value));
  return button;
}

async function explain(button, name, key, value) {
  if (button.getAttribute("aria-pressed") === "true") return cool();
  if (button.ariaBusy === "true") return;
  cool();
  const id = JSON.stringify([current, key, value]);
  try {
    if (!heats.has(id)) {
      button.ariaBusy = "true"; // not disabled, which would lose the keyboard's place;
      const form = new FormData();
      form.append("photo", photos[current].file, "photo");
      if (key) form.append("key", key);
      form.append("value", value);
      const mine = asked;
      const url = URL.createObjectURL(await (await call("v1/explain", { method: "POST", body: form })).blob());
      if (mine !== asked) return;
      heats.set(id, url);
    }
    cool();
    $("heat").src = heats.get(id);
    $("heat").alt = `Heat map: where the photo speaks for ${name} ${value}`;
    $("heat").hidden = false;
    button.setAttribute("aria-pressed", "true");
    $("caption").textContent = `What spoke for ${name}: ${value} (brighter: more)`;
  } catch (error) {
    $("caption").textContent = error.message;
  } finally {
    button.ariaBusy = "false";
  }
}

function cool() {
  $("heat").hidden = true;
  $("caption").textContent = "";
  document.querySelectorAll(".where[aria-pressed=true]").forEach((one) => one.setAttribute("aria-pressed", "false"));
}

$("file").addEventListener("change", (event) => {
  choose(event.target.files);
  event.target.value = "";
});
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    $("stage").classList.toggle("over", kind === "dragover");
    if (kind === "drop") choose(event.dataTransfer.files);
  });
}
document.addEventListener("paste", (event) => choose(event.clipboardData.files));
for (const id of ["category", "title", "fill"]) $(id).addEventListener("change", () => photos.length && ask());
$("key")?.addEventListener("change", () => learnWords().then(() => photos.length && ask()));
learnWords();
