// The link of a mail, by which somebody came here. Its secret leaves the address as soon as it is read.
import { useLayoutEffect, useState } from "react";

// For this page load: the address doesn't have it any more.
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
