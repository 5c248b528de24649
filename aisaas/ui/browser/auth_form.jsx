// Sign in, sign up, and the way back to a forgotten password.
import { useState } from "react";
import { Card, Mailbox } from "$/components/own/auth_card.jsx";
import {
  Check,
  Field,
  NewPasswordField,
  PasswordField,
  Problem,
  Said,
  Submit,
  Username,
  useBuilt,
  goOn,
  useQuery,
  useSending,
} from "$/components/own/forms.jsx";
import { saidIn } from "$/components/own/sentences.jsx";
import { useSite } from "$/components/own/site.jsx";

const SIGN_IN = "/api/session/sign-in";
const SIGN_UP = "/api/session/sign-up";
const MAGIC_LINK = "/api/session/magic-link";
const RESEND = "/api/session/resend";
const RESET = "/api/session/reset";
const PASSWORD = "/api/account/password";
const MODES = {
  invitation: "You need an invitation to sign up. If you have one, open the link in the email.",
  closed: "Sign-up is closed. If you have an account, you can still sign in.",
};

const targetIn = (query) => new URLSearchParams(query).get("redirectTo") ?? "";
// Where to go on travels from page to page; what was said doesn't.
const onward = (path, target) =>
  target ? `${path}?redirectTo=${encodeURIComponent(target)}` : path;

function Email(more) {
  return (
    <Field
      label="Email"
      name="email"
      type="email"
      autoComplete="username"
      inputMode="email"
      maxLength={254}
      {...more}
    />
  );
}

function Providers({ site, target }) {
  if (!site.providers.length) return null;
  return (
    <>
      <p className="divider">or</p>
      <ul className="providers">
        {site.providers.map(({ name, label }) => (
          <li key={name}>
            <a
              className="button button-wide"
              href={onward(`/api/session/oauth/${name}`, target)}
              onClick={() => window.sessionStorage.removeItem("token")}
            >
              Continue with {label}
            </a>
          </li>
        ))}
      </ul>
    </>
  );
}

function SignIn() {
  const site = useSite();
  const query = useQuery();
  const said = saidIn(query);
  const target = targetIn(query);
  const [mailed, setMailed] = useState(null);
  const { busy, problem, attempt, send } = useSending(site.captcha);

  // The same fields go to whichever route the pressed button names.
  const mail = async (action, form) => {
    const address = form.elements.email;
    if (!address.reportValidity()) return;
    const body = await send(action, new FormData(form));
    if (body) setMailed({ address: address.value, message: body.message, action });
  };
  const onSubmit = async (event) => {
    event.preventDefault();
    const form = event.currentTarget;
    if (event.nativeEvent.submitter?.name === "by_mail") await mail(MAGIC_LINK, form);
    else await send(SIGN_IN, new FormData(form));
  };
  if (mailed) {
    return <Mailbox site={site} target={target} onBack={() => setMailed(null)} {...mailed} />;
  }
  const shown = problem ?? (attempt ? null : said.problem);
  return (
    <Card
      title="Welcome back"
      lead="Sign in to pick up where you left off."
    >
      <form className="auth-form" method="post" action={SIGN_IN} onSubmit={onSubmit}>
        <Problem problem={shown}>
          {shown?.code === "email_not_confirmed" && (
            <button
              type="button"
              className="link-button"
              onClick={(event) => mail(RESEND, event.currentTarget.form)}
            >
              Resend the email
            </button>
          )}
        </Problem>
        <Said>{!problem && said.notice?.message}</Said>
        <input type="hidden" name="redirectTo" value={target} />
        <Email />
        <PasswordField
          label="Password"
          name="password"
          autoComplete="current-password"
          maxLength={256}
        />
        <Check site={site} attempt={attempt} />
        <Submit busy={busy} busyText="One moment…">
          Sign in
        </Submit>
        <button
          className="button button-wide"
          type="submit"
          name="by_mail"
          formAction={MAGIC_LINK}
          formNoValidate
          aria-disabled={busy}
        >
          Email me a sign-in link
        </button>
        <Providers site={site} target={target} />
        <p className="auth-other">
          <a href="/reset">Forgot your password?</a>
        </p>
        {site.sign_up_mode === "open" && (
          <p className="auth-other if-open">
            New here? <a href={onward("/signup", target)}>Create an account</a>
          </p>
        )}
      </form>
    </Card>
  );
}

function SignUp({ product }) {
  const built = useBuilt();
  const site = useSite();
  const query = useQuery();
  const said = saidIn(query);
  const target = targetIn(query);
  const [mailed, setMailed] = useState(null);
  const { busy, problem, attempt, send } = useSending(site.captcha);

  const onSubmit = async (event) => {
    event.preventDefault();
    const form = event.currentTarget;
    const body = await send(SIGN_UP, new FormData(form));
    if (body) setMailed({ address: form.elements.email.value, message: body.message });
  };
  if (mailed) {
    return (
      <Mailbox
        site={site}
        target={target}
        action={RESEND}
        onBack={() => setMailed(null)}
        {...mailed}
      />
    );
  }
  const toSignIn = (
    <p className="auth-other">
      Already have an account? <a href={onward("/login", target)}>Sign in</a>
    </p>
  );
  const closed = Object.keys(MODES).filter((mode) => built || mode === site.sign_up_mode);
  return (
    <>
      {(built || site.sign_up_mode === "open") && (
        <Card
          title="Create your account"
          lead="Start for free. No credit card required."
          className={built ? "if-open" : ""}
        >
          <form className="auth-form" method="post" action={SIGN_UP} onSubmit={onSubmit}>
            <Problem problem={problem ?? (attempt ? null : said.problem)} />
            <input type="hidden" name="redirectTo" value={target} />
            <Field label="Full name" name="full_name" type="text" autoComplete="name" maxLength={120} />
            <Email />
            <NewPasswordField label="Password" name="password" product={product} />
            <Check site={site} attempt={attempt} />
            <Submit busy={busy} busyText="Creating your account…">
              Create account
            </Submit>
            <Providers site={site} target={target} />
            {toSignIn}
          </form>
        </Card>
      )}
      {closed.map((mode) => (
        <Card
          key={mode}
          title="Create your account"
          lead={MODES[mode]}
          className={built ? `if-${mode}` : ""}
        >
          {toSignIn}
        </Card>
      ))}
    </>
  );
}

function AskForReset({ over = false, className }) {
  const site = useSite();
  const query = useQuery();
  const said = saidIn(query);
  const [mailed, setMailed] = useState(null);
  const { busy, problem, attempt, send } = useSending(site.captcha);
  const onSubmit = async (event) => {
    event.preventDefault();
    const form = event.currentTarget;
    const body = await send(RESET, new FormData(form));
    if (body) setMailed({ address: form.elements.email.value, message: body.message });
  };
  if (mailed) {
    return (
      <Mailbox site={site} target="" action={RESET} onBack={() => setMailed(null)} {...mailed} />
    );
  }
  return (
    <Card
      title={over ? "This link has expired" : "Reset your password"}
      follows={over}
      className={className}
      lead={
        over
          ? "Password reset links work once, for an hour. Request a new one below."
          : "We'll email you a link to reset your password."
      }
    >
      <form className="auth-form" method="post" action={RESET} onSubmit={onSubmit}>
        <Problem problem={problem ?? (attempt ? null : said.problem)} />
        <Said>{!problem && said.notice?.message}</Said>
        <Email />
        <Check site={site} attempt={attempt} />
        <Submit busy={busy} busyText="One moment…">
          Send reset link
        </Submit>
        <p className="auth-other">
          <a href="/login">Back to sign in</a>
        </p>
      </form>
    </Card>
  );
}

function ChoosePassword({ email, knows, product }) {
  const site = useSite();
  const captcha = knows ? site.captcha : null;
  const { busy, problem, attempt, send } = useSending(captcha);
  const onSubmit = async (event) => {
    event.preventDefault();
    const body = await send(PASSWORD, new FormData(event.currentTarget));
    if (body) goOn("/chat?notice=password_changed");
  };
  // The time in which a mail's link is enough has run out meanwhile.
  if (!knows && problem?.code === "current_password_wrong") return <AskForReset over />;
  return (
    <Card
      title="Choose a new password"
      lead="You'll be signed out of all other sessions."
    >
      <form className="auth-form" method="post" action={PASSWORD} onSubmit={onSubmit}>
        <Problem problem={problem}>
          {problem?.code === "unauthenticated" && <a href="/reset">Request a new link</a>}
        </Problem>
        <Username email={email} />
        {knows && (
          <PasswordField
            label="Current password"
            name="current_password"
            autoComplete="current-password"
            maxLength={256}
          />
        )}
        <NewPasswordField label="New password" product={product} />
        {knows && <Check site={site} attempt={attempt} />}
        <Submit busy={busy} busyText="One moment…">
          Save password
        </Submit>
        {knows && (
          <p className="auth-other">
            <a href="/reset">Forgot your current password?</a>
          </p>
        )}
      </form>
    </Card>
  );
}

// `standing`: "chooses" right after a mail's link, "signed_in" otherwise with a session, "nobody"
// without; "" while it isn't known.
function Reset({ standing, email, product }) {
  const built = useBuilt();
  const chooses = new URLSearchParams(useQuery()).has("choose");
  return (
    <>
      {(built || !chooses) && <AskForReset className={built ? "unless-choosing" : ""} />}
      {(built || chooses) && <Choose {...{ built, standing, email, product }} />}
    </>
  );
}

function Choose({ built, standing, email, product }) {
  if (standing === "nobody") return <AskForReset over />;
  if (standing) {
    return <ChoosePassword email={email} knows={standing === "signed_in"} product={product} />;
  }
  return (
    <Card title="Choose a new password" className={built ? "if-choosing" : ""}>
      <div className="skeleton" aria-busy="true" />
    </Card>
  );
}

const PAGES = { "sign-in": SignIn, "sign-up": SignUp, reset: Reset };

export function AuthForm({ mode, ...more }) {
  const Page = PAGES[mode];
  return <Page {...more} />;
}
