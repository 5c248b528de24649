// What this install allows: who may sign up, which sign-in providers and which captcha there are.
// Asked of the running server, so that one build serves whatever is set; the server decides anyway.
import { useEffect, useState } from "react";

const UNKNOWN = { sign_up_mode: "open", providers: [], captcha: null, mailbox_url: "", plans: [] };
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

const dollars = (amount) =>
  new Intl.NumberFormat("en-US", { style: "currency", currency: "USD", trailingZeroDisplay: "stripIfInteger" }).format(amount);
const count = (number) => number.toLocaleString("en-US");

// What the plans cost, of an install that sells any.
export function Prices() {
  const plans = useSite()?.plans ?? [];
  if (plans.length === 0) return null;
  return (
    <section className="band">
      <h2>What it costs</h2>
      <ul className="plans">
        {plans.map((plan) => (
          <li key={plan.label} className="plan">
            <h3>{plan.label}</h3>
            <p className="plan-price">{plan.overage ? `${dollars(plan.price)} a month` : "$0"}</p>
            <ul className="includes">
              <li>{count(plan.tokens)} tokens a month</li>
              <li>
                {plan.overage
                  ? `Extra usage: ${dollars(plan.overage)} per 1M tokens, up to a cap you set`
                  : "No card needed, no extra charges"}
              </li>
              {plan.trial_days > 0 && (
                <li>
                  {plan.trial_days} days free to try, with {count(plan.trial_tokens)} tokens
                </li>
              )}
            </ul>
          </li>
        ))}
      </ul>
    </section>
  );
}
