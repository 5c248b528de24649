import { common, createLowlight } from "lowlight";

const lowlight = createLowlight(common);
lowlight.registerAlias({ javascript: ["jsx"], typescript: ["tsx"], bash: ["console", "terminal"] });

// The tree as runs of `[text, class]`.
function flatten(nodes, name, runs) {
  for (const node of nodes) {
    if (node.type === "text") runs.push([node.value, name]);
    else flatten(node.children, node.properties.className?.[0] ?? name, runs);
  }
  return runs;
}

self.onmessage = ({ data: [code, language] }) => {
  const name = language.toLowerCase();
  const result = lowlight.registered(name)
    ? flatten(lowlight.highlight(name, code).children, "", [])
    : null;
  self.postMessage({ result });
};
self.postMessage({ ready: true });
