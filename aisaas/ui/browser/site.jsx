// What this install allows and sells, and where its terms are. The server puts it into every page
// (`api.pages`), so that one build serves whatever is set; the server decides anyway.
import { useSyncExternalStore } from "react";

// Also what the pages are built with: the server puts the values into their HTML.
const BUILT = {
  sign_up_mode: "open",
  providers: [],
  captcha: null,
  mailbox_url: "",
  terms_url: "https://terms.invalid/",
  privacy_url: "https://privacy.invalid/",
  contact_email: "contact@site.invalid",
  plans: [],
};

let site;

function read() {
  site ??= JSON.parse(document.querySelector('meta[name="site"]')?.content ?? "null") ?? BUILT;
  return site;
}

// It never changes while a page is open, so there is nothing to subscribe to.
export const unchanging = () => () => {};

export const useSite = () => useSyncExternalStore(unchanging, read, () => BUILT);

export function MailboxLink({ address, className, children }) {
  const { mailbox_url } = useSite();
  if (!mailbox_url) return null;
  const to = address ? `?to=${encodeURIComponent(address)}` : "";
  return (
    <a className={className} href={mailbox_url + to} target="_blank" rel="noreferrer">
      {children}
    </a>
  );
}

// A line of the start page.
export function MailboxHint() {
  const { mailbox_url } = useSite();
  if (!mailbox_url) return null;
  return (
    <p className="hint">
      Email isn’t set up here. Messages go to the local{" "}
      <MailboxLink className="quiet-link">mailbox</MailboxLink> instead.
    </p>
  );
}

// The stylesheet hides the links that lead nowhere, also before scripts run.
export function Legal() {
  const { terms_url, privacy_url, contact_email } = useSite();
  return (
    <>
      <a href={terms_url}>Terms</a>
      <a href={privacy_url}>Privacy</a>
      <a href={contact_email && `mailto:${contact_email}`}>Contact</a>
    </>
  );
}

const dollars = (amount) =>
  new Intl.NumberFormat("en-US", { style: "currency", currency: "USD", trailingZeroDisplay: "stripIfInteger" }).format(amount);
const count = (number) => number.toLocaleString("en-US");

function PlanButton({ plan }) {
  const kind = plan.recommended ? "button button-primary button-wide" : "button button-wide";
  if (!plan.overage) {
    return (
      <>
        <a className={`${kind} for-newcomers`} href="/signup">
          Start for free
        </a>
        <a className={`${kind} for-invited`} href="/login">
          Sign in
        </a>
        <a className={`${kind} for-members`} href="/chat">
          Open chat
        </a>
      </>
    );
  }
  const label = plan.trial_days > 0 ? `Try ${plan.label} for free` : `Choose ${plan.label}`;
  return (
    <>
      <a className={`${kind} for-newcomers`} href="/signup?redirectTo=/billing">
        {label}
      </a>
      <a className={`${kind} for-invited`} href="/login?redirectTo=/billing">
        Choose {plan.label}
      </a>
      <a className={`${kind} for-members`} href="/billing">
        Choose {plan.label}
      </a>
    </>
  );
}

// What the plans cost, of an install that sells any.
export function Prices() {
  const { plans } = useSite();
  if (plans.length === 0) return null;
  return (
    <section className="band" id="pricing" aria-labelledby="pricing-title">
      <h2 id="pricing-title">Pricing</h2>
      <ul className="plans">
        {plans.map((plan) => (
          <li key={plan.label} className="plan plan-offer" data-recommended={plan.recommended}>
            <div className="plan-name">
              <h3>{plan.label}</h3>
              {plan.recommended && <span className="badge">Recommended</span>}
            </div>
            <p className="plan-price">{plan.overage ? `${dollars(plan.price)} per month` : "$0"}</p>
            <ul className="includes">
              <li>{count(plan.tokens)} tokens per month</li>
              {plan.overage ? (
                <li>Extra usage: {dollars(plan.overage)} per 1M tokens, up to a cap you set</li>
              ) : (
                <li>No credit card required</li>
              )}
              {plan.trial_days > 0 && (
                <li>
                  {plan.trial_days}-day free trial with {count(plan.trial_tokens)} tokens
                </li>
              )}
            </ul>
            <PlanButton plan={plan} />
          </li>
        ))}
      </ul>
    </section>
  );
}
