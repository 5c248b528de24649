// What this install allows: who may sign up, which sign-in providers and which captcha there are.
// Asked of the running server, so that one build serves whatever is set; the server decides anyway.
import { useEffect, useState } from "react";

const UNKNOWN = { sign_up_mode: "open", providers: [], captcha: null, mailbox_url: "" };
let asked;

async function ask() {
  try {
    const response = await fetch("/api/site", { headers: { Accept: "application/json" } });
    if (response.ok) return await response.json();
  } catch {
    // Without an answer the forms are as plain as can be, and the next page asks again.
  }
  asked = undefined;
  return UNKNOWN;
}

// null until it is known.
export function useSite() {
  const [site, setSite] = useState(null);
  useEffect(() => {
    let here = true;
    asked ??= ask();
    asked.then((answer) => here && setSite(answer));
    return () => {
      here = false;
    };
  }, []);
  return site;
}

export function MailboxLink({ address, className, children }) {
  const site = useSite();
  if (!site?.mailbox_url) return null;
  const to = address ? `?to=${encodeURIComponent(address)}` : "";
  return (
    <a className={className} href={site.mailbox_url + to} target="_blank" rel="noreferrer">
      {children}
    </a>
  );
}

// A line of the start page.
export function MailboxHint() {
  const site = useSite();
  if (!site?.mailbox_url) return null;
  return (
    <p className="hint">
      This install sends no mail: what it would send is in its{" "}
      <MailboxLink className="quiet-link">mailbox</MailboxLink>.
    </p>
  );
}
