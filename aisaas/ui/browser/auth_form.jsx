// A native form to one of our routes; with scripts it is sent by fetch, keeps what was typed, and
// shows a refusal in place. A full page load follows, because the socket reads the session cookie
// only when it connects.
import { useEffect, useRef, useState } from "react";

const MODES = {
  "sign-in": {
    action: "/api/session/sign-in",
    submit: "Sign in",
    busy: "Signing in…",
    password: "current-password",
    other: { href: "/signup", question: "New here?", label: "Make an account" },
  },
  "sign-up": {
    action: "/api/session/sign-up",
    submit: "Create account",
    busy: "Creating your account…",
    password: "new-password",
    other: { href: "/login", question: "Already have an account?", label: "Go to sign-in" },
  },
};
const NO_ANSWER = {
  code: "unavailable",
  message: "We couldn't reach the server. What you typed is still here; try again.",
};

const ownPath = (path) => (/^\/(?![/\\])[^\\\s]*$/.test(path ?? "") ? path : "/chat");

async function submit(form, action) {
  let response;
  try {
    response = await fetch(action, {
      method: "POST",
      body: new URLSearchParams(new FormData(form)),
      headers: { Accept: "application/json" },
      credentials: "same-origin",
    });
    return { ok: response.ok, body: await response.json() };
  } catch {
    return { ok: false, body: NO_ANSWER };
  }
}

function Field({ label, hint, ...input }) {
  const id = `field-${input.name}`;
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      <input id={id} required aria-describedby={hint ? `${id}-hint` : undefined} {...input} />
      {hint && (
        <p id={`${id}-hint`} className="hint">
          {hint}
        </p>
      )}
    </div>
  );
}

export function AuthForm({ mode }) {
  const copy = MODES[mode];
  const form = useRef(null);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState(null);
  const [notice, setNotice] = useState("");
  const [query, setQuery] = useState("");
  useEffect(() => setQuery(window.location.search), []);
  const target = new URLSearchParams(query).get("redirectTo") ?? "";

  const onSubmit = async (event) => {
    event.preventDefault();
    if (busy) return;
    setBusy(true);
    setProblem(null);
    const { ok, body } = await submit(form.current, copy.action);
    if (ok && body.redirect) {
      // Whoever used this tab before left a state on the server under this token.
      window.sessionStorage.removeItem("token");
      window.location.assign(ownPath(body.redirect));
      return;
    }
    setBusy(false);
    if (ok) setNotice(body.message ?? "Look into your mailbox to confirm your address.");
    else setProblem(body.message ? body : NO_ANSWER);
  };

  return (
    <form ref={form} className="auth-form" method="post" action={copy.action} onSubmit={onSubmit}>
      {problem && (
        <div className="alert" role="alert" data-code={problem.code}>
          {problem.message}
        </div>
      )}
      {notice && (
        <div className="note" role="status">
          {notice}
        </div>
      )}
      <input type="hidden" name="redirectTo" value={target} />
      {mode === "sign-up" && (
        <Field label="Full name" name="full_name" type="text" autoComplete="name" maxLength={120} />
      )}
      <Field label="Email" name="email" type="email" autoComplete="email" inputMode="email" />
      <Field
        label="Password"
        name="password"
        type="password"
        autoComplete={copy.password}
        minLength={mode === "sign-up" ? 8 : undefined}
        hint={mode === "sign-up" ? "At least 8 characters. A sentence is easiest to keep." : undefined}
      />
      <button className="button button-primary button-wide" type="submit" aria-disabled={busy}>
        {busy ? copy.busy : copy.submit}
      </button>
      <p className="auth-other">
        {copy.other.question} <a href={copy.other.href + query}>{copy.other.label}</a>
      </p>
    </form>
  );
}
