// "Seen like these": labelled photos that are similar to the product's, loaded when a field becomes the current one.
import { parseHtml } from "./common.js";

const PAUSE_MS = 200; // so that stepping over fields loads nothing

export class Seen {
  constructor() { this.html = new Map(); }

  about(product, field) {
    clearTimeout(this.timer);
    const place = field?.querySelector(".seen");
    if (!place) return;
    const name = `/seen?${new URLSearchParams({ product, key: field.dataset.key })}`;
    if (this.html.has(name)) place.replaceChildren(parseHtml(this.html.get(name)));
    else this.timer = setTimeout(() => this.load(name, place), PAUSE_MS);
  }

  async load(name, place) {
    try {
      const response = await fetch(name), text = await response.text();
      if (response.ok) this.html.set(name, text);
      place.replaceChildren(response.ok ? parseHtml(text) : text.slice(0, 300));
    } catch { place.replaceChildren("Similar products could not be loaded: no connection."); }
  }
}
