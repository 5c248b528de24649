// A Mermaid diagram as a picture. It is laid out in a frame without an origin, which can reach
// neither this page nor the network and is removed when it takes too long; what comes back is shown
// as an image, in which nothing runs. Browsers that isolate sites give such a frame a process of its
// own; for the others a diagram's size is bounded.
import { useEffect, useState } from "react";
import frameUrl from "$/components/own/diagram_frame.js?url&no-inline";
import mermaidUrl from "@mermaid-js/tiny?url&no-inline";

const LIMIT_MS = 10_000;
const LOADING_LIMIT_MS = 30_000;
const MAX_SOURCE = 4000;
const MAX_STATEMENTS = 100;
const MAX_PICTURE = 500_000;
// The frame's policy refuses every request; a diagram that would make one isn't begun.
const FETCHES = /\burl\s*\(|@import|\bimg\s*:|<\s*(?:img|image|iframe|object|link|script)\b/i;
const KEPT = 50;

const absolute = (url) => new URL(url, document.baseURI).href;

function documentOfFrame() {
  const scripts = [mermaidUrl, frameUrl].map(absolute);
  const policy = `default-src 'none'; script-src ${scripts.join(" ")}; style-src 'unsafe-inline'`;
  const tags = scripts.map((url) => `<script src="${url}"></script>`).join("");
  return `<!doctype html><meta http-equiv="Content-Security-Policy" content="${policy}"><body>${tags}`;
}

// One frame draws one diagram after the other.
let frame = null;
let last = Promise.resolve();
const kept = new Map();

function openFrame() {
  return new Promise((resolve, reject) => {
    const element = document.createElement("iframe");
    element.setAttribute("sandbox", "allow-scripts");
    element.className = "diagram-frame";
    element.setAttribute("aria-hidden", "true");
    element.tabIndex = -1;
    element.title = "Draws diagrams";
    element.srcdoc = documentOfFrame();
    const timer = setTimeout(() => {
      window.removeEventListener("message", listen);
      element.remove();
      reject(new Error("the frame didn't load"));
    }, LOADING_LIMIT_MS);
    const listen = ({ source, data }) => {
      if (source !== element.contentWindow || data !== "ready") return;
      clearTimeout(timer);
      window.removeEventListener("message", listen);
      resolve(element);
    };
    window.addEventListener("message", listen);
    document.body.append(element);
  });
}

async function layOut(source, dark) {
  frame ??= await openFrame();
  const { port1, port2 } = new MessageChannel();
  try {
    return await new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        frame.remove();
        frame = null;
        reject(new Error("took too long"));
      }, LIMIT_MS);
      port1.onmessage = ({ data }) => {
        clearTimeout(timer);
        if (typeof data?.svg === "string" && data.svg.length <= MAX_PICTURE) resolve(data);
        else reject(new Error("no diagram"));
      };
      frame.contentWindow.postMessage({ source, dark }, "*", [port2]);
    });
  } finally {
    port1.close();
  }
}

function drawn(source, dark) {
  const statements = source.split(/[\n;]/).length;
  if (source.length > MAX_SOURCE || statements > MAX_STATEMENTS || FETCHES.test(source)) {
    return Promise.reject(new Error("not a diagram to draw"));
  }
  const key = `${dark} ${source}`;
  if (!kept.has(key)) {
    const drawing = last.then(() => layOut(source, dark));
    last = drawing.catch(() => {});
    if (kept.size >= KEPT) kept.delete(kept.keys().next().value);
    kept.set(key, drawing);
  }
  return kept.get(key);
}

const DARK = "(prefers-color-scheme: dark)";
function isDark() {
  const { classList } = document.documentElement;
  if (classList.contains("dark")) return true;
  return !classList.contains("light") && window.matchMedia(DARK).matches;
}

function useDark() {
  const [dark, setDark] = useState(isDark);
  useEffect(() => {
    const look = () => setDark(isDark());
    const query = window.matchMedia(DARK);
    const observer = new MutationObserver(look);
    query.addEventListener("change", look);
    observer.observe(document.documentElement, { attributeFilter: ["class"] });
    return () => {
      query.removeEventListener("change", look);
      observer.disconnect();
    };
  }, []);
  return dark;
}

export function Diagram({ source, onFailure }) {
  const dark = useDark();
  const [picture, setPicture] = useState(null);
  useEffect(() => {
    let wanted = true;
    drawn(source, dark).then(
      (made) => wanted && setPicture(made),
      () => wanted && onFailure(),
    );
    return () => {
      wanted = false;
    };
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [source, dark]);
  return (
    <div className="diagram" aria-busy={!picture}>
      {picture ? (
        <img
          alt="Diagram"
          width={picture.width}
          height={picture.height}
          src={`data:image/svg+xml,${encodeURIComponent(picture.svg)}`}
        />
      ) : (
        <span className="diagram-waiting">Drawing the diagram…</span>
      )}
    </div>
  );
}
