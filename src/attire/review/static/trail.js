// The products of a queue in the order in which they were shown. The next ones are prefetched with their photos.
import { parseHtml, post, setLeft } from "./common.js";

const AHEAD = 2;

export class Trail {
  constructor(filters) { Object.assign(this, { filters, ids: [], cards: new Map(), at: -1, fetching: null, ended: false }); }

  get id() { return this.ids[this.at]; }
  get html() { return this.cards.get(this.id); }
  get begun() { return this.at >= 0; }
  get shown() { return this.ids.slice(Math.max(0, this.at)); }
  get last() { return this.at + 1 >= this.ids.length; }

  keep(card) { this.cards.set(card.id, card.html); }

  // `next` and `back` move, and return whether there was a product to move to.
  async next() {
    if (this.last) await this.ahead();
    if (this.last) return false;
    this.at += 1;
    return true;
  }

  back() {
    if (this.at <= 0) return false;
    this.at -= 1;
    return true;
  }

  // Moves to a fetched product, wherever in the queue it is.
  open(id) {
    if (!this.ids.includes(id)) this.ids.splice(Math.max(0, this.at), 0, id);
    this.at = this.ids.indexOf(id);
  }

  async fetch(id) {
    const card = await post("/api/card", { id, filters: this.filters });
    this.keep(card);
    return card;
  }

  async ahead() {
    if (this.ended || this.ids.length - 1 - this.at >= AHEAD) return;
    this.fetching ??= post("/api/next", { filters: this.filters, last: this.ids.at(-1) ?? "", count: AHEAD }).then(answer => {
      for (const card of answer.cards) {
        if (this.ids.includes(card.id)) continue;
        this.ids.push(card.id);
        this.keep(card);
        for (const img of parseHtml(card.html).querySelectorAll("img.large")) new Image().src = img.src;
      }
      this.ended = answer.cards.length === 0;
      setLeft(answer.left);
    }).finally(() => { this.fetching = null; });
    await this.fetching;
  }
}
