// Colours for code. Loaded when the first code block appears.
import { Fragment, jsx, jsxs } from "react/jsx-runtime";
import { toJsxRuntime } from "hast-util-to-jsx-runtime";
import { common, createLowlight } from "lowlight";

const MAX_LENGTH = 60000;
const lowlight = createLowlight(common);
lowlight.registerAlias({ javascript: ["jsx"], typescript: ["tsx"], bash: ["console", "terminal"] });

// Null when the language is unknown: the code is shown as it is.
export function highlight(code, language) {
  const name = language.toLowerCase();
  if (!name || code.length > MAX_LENGTH || !lowlight.registered(name)) return null;
  return toJsxRuntime(lowlight.highlight(name, code), { Fragment, jsx, jsxs });
}
