// A mail's link leads here, and does nothing by being opened: programs that look through mail open
// links too. The link's secret leaves the address as soon as it is read.
import { useLayoutEffect, useState } from "react";
import { Card } from "$/components/own/auth_card.jsx";
import { Problem, Submit, useSending } from "$/components/own/forms.jsx";

const CONFIRM = "/api/session/confirm";
const SIGN_IN = {
  title: "Sign in",
  lead: "Use this link to sign in. It works once.",
  submit: "Sign in",
  on: { href: "/login", label: "Request a new link" },
};
const KINDS = {
  signup: {
    title: "Welcome",
    lead: "Confirm your email address to finish creating your account.",
    submit: "Confirm email address",
    on: { href: "/login", label: "Sign in or resend the email" },
  },
  magiclink: SIGN_IN,
  email: SIGN_IN,
  recovery: {
    title: "Choose a new password",
    lead: "You asked to reset your password.",
    submit: "Choose a new password",
    on: { href: "/reset", label: "Ask for a new link" },
  },
  invite: {
    title: "You're invited",
    lead: "Accept the invitation, then choose a password.",
    submit: "Accept invitation",
    on: { href: "/login", label: "Sign in" },
  },
  email_change: {
    title: "Confirm your new email address",
    lead: "To change your address, open the links we sent to your old and new addresses.",
    submit: "Confirm change",
    on: { href: "/settings", label: "Go to settings" },
  },
};
const NOT_WHOLE = { code: "link_incomplete", message: "That link is incomplete. Open it from the email again." };

// For this page load: the address doesn't have it any more.
let link;

function readLink() {
  if (link === undefined) {
    const query = new URLSearchParams(window.location.search);
    const [token, type] = [query.get("token_hash"), query.get("type")];
    const whole = token && Object.hasOwn(KINDS, type);
    link = whole ? { token, type, target: query.get("redirectTo") ?? "" } : null;
    window.history.replaceState(window.history.state, "", window.location.pathname);
  }
  return link;
}

export function Confirm() {
  const [read, setRead] = useState(undefined);
  const [halfDone, setHalfDone] = useState("");
  const { busy, problem, send } = useSending(null);
  useLayoutEffect(() => setRead(readLink()), []);

  if (read === undefined) return <Card title="One moment…" />;
  if (read === null) {
    return (
      <Card title="This link doesn't work">
        <div className="auth-form">
          <Problem problem={NOT_WHOLE} />
          <p className="auth-other">
            <a href="/login">Sign in</a>
          </p>
        </div>
      </Card>
    );
  }
  const kind = KINDS[read.type];
  if (halfDone) {
    return (
      <Card key="half" title="One more step" lead={halfDone} follows>
        <p className="auth-other">
          <a href="/settings">Go to settings</a>
        </p>
      </Card>
    );
  }
  const onSubmit = async (event) => {
    event.preventDefault();
    const fields = { token_hash: read.token, type: read.type, redirectTo: read.target };
    const body = await send(CONFIRM, fields);
    if (body) setHalfDone(body.message);
  };
  const over = problem && problem.code !== "unavailable";
  return (
    <Card title={kind.title} lead={over ? undefined : kind.lead}>
      <form className="auth-form" onSubmit={onSubmit}>
        <Problem problem={problem} />
        {over ? (
          <a className="button button-wide" href={kind.on.href}>
            {kind.on.label}
          </a>
        ) : (
          <Submit busy={busy} busyText="One moment…">
            {kind.submit}
          </Submit>
        )}
      </form>
    </Card>
  );
}
