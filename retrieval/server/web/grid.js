// A long list of cards of which only those near the screen are in the page; room is kept for the others.

const NEAR = 300; // cards kept beyond either edge of the screen

export class Grid {
  constructor(element) {
    this.element = element;
    this.clear();
    let waits = false;
    const follow = () => {
      waits = false;
      this.show();
    };
    const soon = () => {
      if (!waits) requestAnimationFrame(follow);
      waits = true;
    };
    window.addEventListener("scroll", soon, { passive: true });
    window.addEventListener("resize", soon, { passive: true });
  }

  clear() {
    this.cards = [];
    this.element.dataset.cards = 0;
    this.from = this.to = 0; // what of them is in the page
    this.element.replaceChildren();
    this.element.style.padding = "";
  }

  append(cards) {
    this.cards.push(...cards);
    this.element.dataset.cards = this.cards.length;
    if (this.to < 2 * NEAR) this.put(this.from, Math.min(this.cards.length, 2 * NEAR));
    this.show();
  }

  // Move the window of cards once the screen has come near an edge of it.
  show() {
    const { element, cards } = this;
    if (!element.clientHeight || cards.length <= 2 * NEAR) return;
    const { gridTemplateColumns, rowGap } = getComputedStyle(element);
    const columns = gridTemplateColumns.split(" ").length;
    const pitch = element.firstElementChild.offsetHeight + parseFloat(rowGap);
    const above = Math.max(0, -element.getBoundingClientRect().top);
    const first = Math.floor(above / pitch) * columns;
    const last = first + (Math.ceil(innerHeight / pitch) + 1) * columns;
    const isNear = (first - this.from >= NEAR / 2 || !this.from) && (this.to - last >= NEAR / 2 || this.to === cards.length);
    if (!isNear) {
      const from = Math.max(0, first - NEAR);
      this.put(from - (from % columns), Math.min(cards.length, last + NEAR));
    }
    const rows = (n) => Math.ceil(n / columns) * pitch;
    element.style.paddingTop = `${rows(this.from)}px`;
    element.style.paddingBottom = `${rows(cards.length) - rows(this.to)}px`;
  }

  put(from, to) {
    const { element, cards } = this;
    const meets = from < this.to && this.from < to;
    if (!meets) element.replaceChildren(...cards.slice(from, to));
    else {
      for (let at = this.from; at < Math.min(from, this.to); at++) cards[at].remove();
      for (let at = Math.max(to, this.from); at < this.to; at++) cards[at].remove();
      if (from < this.from) element.prepend(...cards.slice(from, this.from));
      if (to > this.to) element.append(...cards.slice(this.to, to));
    }
    [this.from, this.to] = [from, to];
  }
}
