// Where a link in a reply may lead: to the web or to a mailbox, at an address that says so itself.
const LEADS_OUT = /^(?:https?:\/\/|mailto:)/i;

// `{href, host, shown}` of an address that may be a link, or null.
export function safeTarget(address) {
  if (!LEADS_OUT.test(address)) return null;
  let url;
  try {
    url = new URL(address);
  } catch {
    return null;
  }
  if (url.protocol === "mailto:") {
    return url.pathname.includes("@") ? { href: url.href, host: url.pathname, shown: url.pathname } : null;
  }
  // A name before the host is there to deceive: https://bank.example@evil.example.
  if (!/^https?:$/.test(url.protocol) || url.username || url.password) return null;
  return { href: url.href, host: url.host, shown: url.href.replace(/\/$/, "") };
}
