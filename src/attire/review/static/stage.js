// The photo of a product: selection, zoom and heat map.
import { say } from "./common.js";

const NEAR = 2.5;

export class Stage {
  constructor(place, explains) {
    this.place = place;
    this.explains = explains;
    place.addEventListener("click", event => { if (event.target.closest(".stage img")) this.zoom(event); });
    place.addEventListener("error", event => { if (event.target === this.image) this.fault(event.target.src); }, true);
    place.addEventListener("pointermove", event => {
      if (this.near && event.pointerType === "mouse" && event.target.closest(".stage")) this.point(event);
    });
  }

  get box() { return this.place.querySelector(".stage"); }
  get image() { return this.place.querySelector(".stage img"); }

  enter(product) {
    Object.assign(this, { product, index: 0, near: false, hot: false, field: null, x: 50, y: 50 });
  }

  about(field) {
    this.field = field;
    if (this.hot) this.draw();
  }

  source(path, more = {}) { return `${path}?${new URLSearchParams({ product: this.product, index: this.index, ...more })}`; }

  draw() {
    if (!this.image) return;
    const value = this.hot && this.field ? [...JSON.parse(this.field.dataset.shown), ...JSON.parse(this.field.dataset.proposal)][0] : undefined;
    const note = this.box.querySelector(".heat-note"), key = this.field?.dataset.key;
    note.hidden = !this.hot;
    note.textContent = value === undefined ? "no value to explain" : `evidence for ${this.field.dataset.title} ${value}`;
    const source = this.hot && value !== undefined ? this.source("/heat", { key, value }) : this.source("/photo");
    if (this.image.getAttribute("src") !== source) this.image.src = source;
    this.box.dataset.index = this.index;
    this.press("heat", this.hot);
  }

  // Shows the server's reason for a missing image: the file is gone, or there is no heat map for this value.
  async fault(source) {
    const reason = (await (await fetch(source)).text()).slice(0, 300);
    if (this.image?.src !== source) return;
    const note = this.box.querySelector(".heat-note");
    note.hidden = false;
    note.textContent = reason;
    say(reason);
  }

  press(name, on) { this.place.querySelector(`[data-do=${name}]`)?.setAttribute("aria-pressed", on); }

  open(index) {
    const thumbs = this.place.querySelectorAll("[data-photo]");
    if (!thumbs[index]) return;
    this.index = index;
    thumbs.forEach((thumb, i) => (i === index ? thumb.setAttribute("aria-current", "true") : thumb.removeAttribute("aria-current")));
    this.image.alt = this.image.alt.replace(/^Photo \d+/, `Photo ${index + 1}`);
    this.draw();
  }

  turn(by) { this.open(this.index + by); }

  heat() {
    if (!this.explains) { say("Heat maps need a model. Start the page with attire review … --bundle BUNDLE."); return; }
    this.hot = !this.hot;
    this.draw();
    say(this.hot ? "Heat map shown." : "Heat map hidden.");
  }

  zoom(event) {
    if (!this.image) return;
    this.near = !this.near;
    this.box.classList.toggle("near", this.near);
    this.press("zoom", this.near);
    if (event && this.near) this.point(event); else this.aim(50, 50);
  }

  point(event) {
    const box = this.box.getBoundingClientRect();
    this.aim(100 * (event.clientX - box.left) / box.width, 100 * (event.clientY - box.top) / box.height);
  }

  move(x, y) { if (this.near) this.aim(this.x + 12 * x, this.y + 12 * y); }

  aim(x, y) {
    [this.x, this.y] = [x, y].map(share => Math.max(0, Math.min(100, share)));
    this.image.style.transformOrigin = `${this.x}% ${this.y}%`;
    this.image.style.transform = this.near ? `scale(${NEAR})` : "";
  }
}
