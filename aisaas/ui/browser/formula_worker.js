import katex from "katex";

const OPTIONS = {
  // No links, pictures or classes of a model's choice, and nothing larger than a page.
  trust: false,
  strict: "ignore",
  maxSize: 20,
  maxExpand: 300,
};

self.onmessage = ({ data: [tex, displayMode] }) => {
  let result = null;
  try {
    result = katex.renderToString(tex, { ...OPTIONS, displayMode });
  } catch {
    // Not TeX, or more of it than can be drawn: the source is shown.
  }
  self.postMessage({ result });
};
self.postMessage({ ready: true });
