// The page at /: sends photos and shows the answers. Text from the server is never inserted as HTML.
"use strict";
const $ = (id) => document.getElementById(id);
const LIMITS = { photos: Number(document.body.dataset.photos), bytes: Number(document.body.dataset.photoBytes) };
const EXPLAINS = document.body.dataset.explains === "true";
const words = { keys: {} };
let photos = [], current = 0, latest = 0, heatMaps = new Map();

function element(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children.filter((child) => child !== null));
  return node;
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

async function loadWords() {
  try {
    Object.assign(words, await (await call("v1/taxonomy")).json());
  } catch {
    return; // perhaps the API key is missing; answers are shown with plain names then
  }
  if ($("category").length === 1) {
    for (const name of words.categories) $("category").append(element("option", { value: name, textContent: name }));
  }
}

function choose(files) {
  const chosen = [...files].filter((file) => file.size > 0).slice(0, LIMITS.photos);
  if (chosen.length === 0) return;
  const large = chosen.find((file) => file.size > LIMITS.bytes);
  photos.forEach((photo) => URL.revokeObjectURL(photo.url));
  photos = chosen.map((file) => ({ file, url: URL.createObjectURL(file) }));
  $("drop").hidden = true;
  $("shown").hidden = $("again").hidden = false;
  $("thumbs").hidden = photos.length < 2;
  $("thumbs").replaceChildren(...photos.map(thumb));
  show(0);
  if (large) return fail(`${large.name} is larger than ${LIMITS.bytes / 2 ** 20} MB. Choose a smaller photo.`);
  predict();
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
  [...$("thumbs").querySelectorAll("button")].forEach((button, n) => button.setAttribute("aria-pressed", n === number));
  hideHeatMap();
}

function fail(text) {
  $("problem").textContent = text;
  $("problem").hidden = false;
  $("answer").hidden = $("status").hidden = $("intro").hidden = true;
}

async function predict() {
  const request = ++latest;
  $("problem").hidden = $("intro").hidden = true;
  $("status").hidden = false;
  $("status").textContent = "Predicting …";
  $("status").classList.add("busy");
  const form = new FormData();
  photos.forEach((photo) => form.append("photos", photo.file, "photo"));
  if ($("category").value) form.append("category", $("category").value);
  if ($("title").value) form.append("title", $("title").value);
  if ($("fill").checked) form.append("fill", "all");
  const start = performance.now();
  try {
    const answer = await (await call("v1/predict", { method: "POST", body: form })).json();
    if (request !== latest) return;
    draw(answer, performance.now() - start);
  } catch (error) {
    if (request === latest) fail(error.message);
  } finally {
    if (request === latest) $("status").classList.remove("busy");
  }
  if (!words.categories) loadWords();
}

function draw(answer, ms) {
  heatMaps = new Map();
  hideHeatMap();
  const rows = Object.entries(answer.attributes);
  const filled = rows.filter(([, attribute]) => attribute.status === "answered");
  const open = rows.filter(([, attribute]) => attribute.status === "abstained");
  const category = answer.category;
  $("answer").replaceChildren(...[
    element("div", { className: "verdict" },
      element("strong", { textContent: category.value ?? "Category left open" }),
      element("span", { className: "percent", textContent: category.value ? percent(category.confidence) : "" }),
      category.value ? evidenceButton("category", null, category.value) : ""),
    category.value ? bar(category.confidence) : null,
    alternatives(category.alternatives.filter((other) => other.confidence >= 0.005)),
    ...group("Filled", filled),
    ...group("Left open", open),
  ].filter((node) => node !== null));
  $("answer").hidden = false;
  const faults = answer.faults.map((fault) => `Photo ${fault.photo} was left out: ${fault.reason}.`);
  answer.faults.forEach((fault) => $("thumbs").querySelectorAll("button")[fault.photo - 1]?.classList.add("left-out"));
  $("status").textContent = `${filled.length} filled, ${open.length} left open, ${Math.round(ms)} ms. ${faults.join(" ")}`;
  $("model").textContent = `model ${answer.bundle}`;
}

function group(title, rows) {
  if (rows.length === 0) return [];
  const heading = element("h3", {}, title, element("small", { textContent: `${rows.length}` }));
  return [heading, element("ul", {}, ...rows.map(([key, attribute]) => row(key, attribute)))];
}

function row(key, attribute) {
  const answered = attribute.status === "answered";
  const name = words.keys[key]?.title || key.replaceAll("_", " ");
  const best = answered ? null : attribute.alternatives[0];
  const values = answered ? attribute.values : best ? [best.value] : [];
  const confidence = answered ? attribute.confidence : best ? best.confidence : 0;
  const titles = values.map((value) => words.keys[key]?.titles[value] || value).join(", ") || "no value";
  const text = answered ? element("b", { textContent: titles }) : element("span", { textContent: `perhaps ${titles}` });
  const others = (answered ? attribute.alternatives : attribute.alternatives.slice(1)).filter((other) => other.confidence >= 0.05);
  return element("li", { className: attribute.status },
    element("span", { className: "key", textContent: name }),
    element("div", { className: "value" }, text, bar(confidence), alternatives(others.slice(0, 2))),
    element("span", { className: "percent", textContent: percent(confidence) }),
    values.length ? evidenceButton(name, key, values[0]) : element("span"));
}

function bar(share) {
  const fill = element("i");
  fill.style.width = `${Math.min(100, 100 * share)}%`;
  const node = element("div", { className: "bar" }, fill);
  node.setAttribute("aria-hidden", "true"); // the percentage is next to it
  return node;
}

function alternatives(others) {
  if (others.length === 0) return null;
  const texts = others.map((other) => `${other.value} ${percent(other.confidence)}`);
  return element("p", { className: "others" }, "or ", ...texts.flatMap((text, n) =>
    [n ? ", " : "", element("span", { textContent: text })]));
}

function evidenceButton(name, key, value) {
  if (!EXPLAINS) return element("span");
  const button = element("button", { type: "button", className: "where", textContent: "Show evidence" });
  button.setAttribute("aria-label", `Show evidence in the photo for ${name} ${value}`);
  button.setAttribute("aria-pressed", "false");
  button.addEventListener("click", () => explain(button, name, key, value));
  return button;
}

async function explain(button, name, key, value) {
  if (button.getAttribute("aria-pressed") === "true") return hideHeatMap();
  if (button.ariaBusy === "true") return;
  hideHeatMap();
  const id = JSON.stringify([current, key, value]);
  try {
    if (!heatMaps.has(id)) {
      button.ariaBusy = "true"; // not disabled, which would lose the keyboard focus
      const form = new FormData();
      form.append("photo", photos[current].file, "photo");
      if (key) form.append("key", key);
      form.append("value", value);
      const request = latest;
      const url = URL.createObjectURL(await (await call("v1/explain", { method: "POST", body: form })).blob());
      if (request !== latest) return;
      heatMaps.set(id, url);
    }
    hideHeatMap();
    $("heat").src = heatMaps.get(id);
    $("heat").alt = `Heat map of the evidence for ${name} ${value}`;
    $("heat").hidden = false;
    button.setAttribute("aria-pressed", "true");
    $("caption").textContent = `Evidence for ${name}: ${value} (brighter is stronger)`;
  } catch (error) {
    $("caption").textContent = error.message;
  } finally {
    button.ariaBusy = "false";
  }
}

function hideHeatMap() {
  $("heat").hidden = true;
  $("caption").textContent = "";
  document.querySelectorAll(".where[aria-pressed=true]").forEach((button) => button.setAttribute("aria-pressed", "false"));
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
for (const id of ["category", "title", "fill"]) $(id).addEventListener("change", () => photos.length && predict());
$("key")?.addEventListener("change", () => loadWords().then(() => photos.length && predict()));
loadWords();
