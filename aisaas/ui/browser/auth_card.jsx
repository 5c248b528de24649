// The card of a page about signing in, and the screen that sends somebody to their mailbox.
import { useEffect, useRef, useState } from "react";
import { Check, Problem, Said, useSending } from "$/components/own/forms.jsx";
import { MailboxLink } from "$/components/own/site.jsx";

const AGAIN_SECONDS = 60;

// One that `follows` another screen in the same place has the focus: readers and keyboards begin at
// its top. `className` says for whom it is, before scripts run.
export function Card({ title, lead, follows = false, className = "", children }) {
  const heading = useRef(null);
  useEffect(() => {
    if (follows) heading.current.focus();
  }, [follows]);
  return (
    <section className={`auth-card ${className}`}>
      <h1 ref={heading} tabIndex={-1}>
        {title}
      </h1>
      {lead && <p className="auth-lead">{lead}</p>}
      {children}
    </section>
  );
}

function useSecondsLeft(from) {
  const [left, setLeft] = useState(AGAIN_SECONDS);
  useEffect(() => {
    const begun = Date.now();
    const look = () =>
      setLeft(Math.max(0, AGAIN_SECONDS - Math.floor((Date.now() - begun) / 1000)));
    look();
    const timer = setInterval(look, 1000);
    return () => clearInterval(timer);
  }, [from]);
  return left;
}

// A mail is on its way. `action` is the route that sends it once more.
export function Mailbox({ site, address, message, action, target, onBack }) {
  const [sent, setSent] = useState(0);
  const left = useSecondsLeft(sent);
  const { busy, problem, attempt, send } = useSending(site.captcha);
  const onSubmit = async (event) => {
    event.preventDefault();
    if (left > 0) return;
    const body = await send(action, new FormData(event.currentTarget));
    if (body) setSent((count) => count + 1);
  };
  return (
    <Card title="Check your email" follows>
      <form className="auth-form" onSubmit={onSubmit}>
        <p>{message}</p>
        <p className="mail-address">{address}</p>
        <MailboxLink className="button button-primary button-wide" address={address}>
          Open the test mailbox
        </MailboxLink>
        <Problem problem={problem} />
        <Said>{sent > 0 && "We sent it again."}</Said>
        <input type="hidden" name="email" value={address} />
        <input type="hidden" name="redirectTo" value={target} />
        <Check site={site} attempt={attempt} />
        {!site.mailbox_url && (
          <p className="hint">No email? It can take a minute. Check your spam folder, too.</p>
        )}
        <button className="button button-wide" type="submit" aria-disabled={busy || left > 0}>
          {left > 0 ? `Resend in ${left} s` : "Resend email"}
        </button>
        <p className="auth-other">
          <button type="button" className="link-button" onClick={onBack}>
            Use a different email address
          </button>
        </p>
      </form>
    </Card>
  );
}
