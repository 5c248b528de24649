// The email link that the visitor followed. Its secret is removed from the address once it is read.
import { useLayoutEffect, useState } from "react";

// Kept for this page load: the address no longer has it.
let link;

function read() {
  if (link === undefined) {
    const query = new URLSearchParams(window.location.search);
    const field = (name) => query.get(name) ?? "";
    link = { token: field("token_hash"), type: field("type"), target: field("redirectTo") };
    if (!link.token) link.type = "";
    window.history.replaceState(window.history.state, "", window.location.pathname);
  }
  return link;
}

// {token, type, target}: `type` is "" of a link that isn't whole, and "…" before it was read.
export function useMailLink() {
  const [found, setFound] = useState({ token: "", type: "…", target: "" });
  useLayoutEffect(() => setFound(read()), []);
  return found;
}
