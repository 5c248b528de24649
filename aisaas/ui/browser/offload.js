// Work that a text can make long without end (TeX, highlighting) is done in workers: the page stays
// free, and what takes too long is given up, so that its source is shown as it is.
const LIMIT_MS = 3000;
// Until a worker has loaded its library, over a slow network too.
const LOADING_LIMIT_MS = 30_000;
const KEPT = 500;
// Results that are handed out without a pause: a page draws about so many formulas in 10 ms.
const AT_ONCE = 50;

const WORKERS = {
  formula: () => new Worker(new URL("./formula_worker.js", import.meta.url), { type: "module" }),
  code: () => new Worker(new URL("./highlight_worker.js", import.meta.url), { type: "module" }),
};

// One worker a kind, which does one piece of work at a time.
class Desk {
  constructor(kind) {
    this.start = WORKERS[kind];
    this.worker = null;
    this.ready = false;
    this.current = null;
    this.waiting = [];
    this.kept = new Map();
    this.handedOut = 0;
  }

  // Whether one more may be handed out in this turn of the page.
  take() {
    if (this.handedOut === 0) {
      setTimeout(() => {
        this.handedOut = 0;
        this.next();
      });
    }
    this.handedOut += 1;
    return this.handedOut <= AT_ONCE;
  }

  keyOf(input) {
    return JSON.stringify(input);
  }

  ask(input) {
    const key = this.keyOf(input);
    return new Promise((resolve) => {
      this.waiting.push({ key, input, resolve });
      this.next();
    });
  }

  next() {
    while (!this.current && this.waiting.length > 0 && this.kept.has(this.waiting[0].key)) {
      if (!this.take()) return;
      const { key, resolve } = this.waiting.shift();
      resolve(this.kept.get(key));
    }
    if (this.current || this.waiting.length === 0) return;
    this.current = this.waiting.shift();
    if (!this.worker) {
      this.ready = false;
      this.worker = this.start();
      this.worker.onerror = () => this.giveUp();
      this.worker.onmessage = ({ data }) => {
        if (data.ready) this.begin();
        else this.keep(data.result);
      };
      this.timer = setTimeout(() => this.giveUp(), LOADING_LIMIT_MS);
    } else {
      this.begin();
    }
  }

  begin() {
    this.ready = true;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.giveUp(), LIMIT_MS);
    this.worker.postMessage(this.current.input);
  }

  keep(result) {
    if (this.kept.size >= KEPT) this.kept.delete(this.kept.keys().next().value);
    this.kept.set(this.current.key, result);
    this.finish(result);
  }

  giveUp() {
    this.worker.terminate();
    this.worker = null;
    // A worker that failed to load says nothing about the text.
    if (this.ready) this.keep(null);
    else this.finish(null);
  }

  finish(result) {
    clearTimeout(this.timer);
    const { resolve } = this.current;
    this.current = null;
    resolve(result);
    this.next();
  }
}

const desks = {};
const desk = (kind) => (desks[kind] ??= new Desk(kind));

// The earlier result; undefined if it has to be requested.
export function known(kind, ...input) {
  const { kept } = desk(kind);
  const key = desk(kind).keyOf(input);
  return kept.has(key) && desk(kind).take() ? kept.get(key) : undefined;
}

// A promise of the result; null when it failed or took too long.
export const offload = (kind, ...input) => desk(kind).ask(input);
