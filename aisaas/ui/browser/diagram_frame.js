// Runs in the frame that diagram.jsx opens, after Mermaid: source in, SVG out.
const FIXED = {
  startOnLoad: false,
  securityLevel: "strict",
  suppressErrorRendering: true,
  maxTextSize: 4000,
  maxEdges: 150,
  htmlLabels: false,
  flowchart: { htmlLabels: false },
  class: { htmlLabels: false },
  fontFamily: "ui-sans-serif, system-ui, sans-serif",
};
// What the text of a diagram may not change.
const SECURE = [
  ...Object.keys(FIXED),
  "secure", "dompurifyConfig", "themeCSS", "theme", "darkMode", "altFontFamily", "arrowMarkerAbsolute",
];

let count = 0;

async function draw(source, dark) {
  window.mermaid.initialize({ ...FIXED, secure: SECURE, theme: dark ? "dark" : "neutral", darkMode: dark });
  count += 1;
  const { svg } = await window.mermaid.render(`diagram-${count}`, source);
  const holder = document.createElement("div");
  holder.innerHTML = svg;
  document.body.append(holder);
  const element = holder.querySelector("svg");
  const { width, height } = element.viewBox.baseVal;
  element.setAttribute("width", width);
  element.setAttribute("height", height);
  // As XML: a picture isn't read as HTML is.
  const made = { svg: new XMLSerializer().serializeToString(element), width, height };
  holder.remove();
  return made;
}

window.addEventListener("message", async ({ source: from, data, ports: [port] }) => {
  if (from !== window.parent) return;
  try {
    port.postMessage(await draw(data.source, data.dark));
  } catch {
    port.postMessage({});
  }
});
window.parent.postMessage("ready", "*");
