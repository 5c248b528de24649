// The forms of the settings page. What was typed stays until it was taken.
import { useEffect, useRef, useState } from "react";
import {
  Check,
  Field,
  NewPasswordField,
  PasswordField,
  Problem,
  Said,
  Submit,
  Username,
  post,
  useSending,
} from "$/components/own/forms.jsx";
import { MailboxLink, useSite } from "$/components/own/site.jsx";

// Somebody whose session ended meanwhile signs in and comes back.
function useSettingsForm(captcha) {
  const sending = useSending(captcha);
  useEffect(() => {
    if (sending.problem?.code === "unauthenticated") leave();
  }, [sending.problem]);
  return sending;
}

export function leave() {
  window.sessionStorage.removeItem("token");
  window.location.assign("/login?error=unauthenticated&redirectTo=/settings");
}

export function NameForm({ name, saved, onSave }) {
  const [typed, setTyped] = useState(name);
  const [asked, setAsked] = useState(0);
  useEffect(() => setTyped(name), [name]);
  const onSubmit = (event) => {
    event.preventDefault();
    setAsked(saved + 1);
    onSave(typed);
  };
  return (
    <form className="settings-form" onSubmit={onSubmit}>
      <Field
        label="Name"
        name="full_name"
        type="text"
        autoComplete="name"
        maxLength={120}
        required={false}
        value={typed}
        onChange={(event) => setTyped(event.target.value)}
        hint="Shown in your account menu. If empty, your email address is shown."
      />
      <Submit small>Save name</Submit>
      <Said>{asked > 0 && saved >= asked && typed.trim() === name && "Saved."}</Said>
    </form>
  );
}

export function AddressForm({ email }) {
  const site = useSite();
  const [said, setSaid] = useState(null);
  const { busy, problem, attempt, send } = useSettingsForm(site.captcha);
  const onSubmit = async (event) => {
    event.preventDefault();
    const form = event.currentTarget;
    const asked = form.elements.email.value;
    setSaid(null);
    const body = await send("/api/account/address", new FormData(form));
    if (!body) return;
    form.reset();
    setSaid({ ...body, asked });
    if (!body.confirm) window.location.assign("/settings?notice=address_changed");
  };
  return (
    <form className="settings-form" method="post" action="/api/account/address" onSubmit={onSubmit}>
      <p>
        You sign in with <strong className="mail-address">{email}</strong>
      </p>
      <Problem problem={problem} />
      <Said>
        {said?.confirm &&
          `We sent links to ${said.asked} and ${email}. Open both to finish the change.`}
      </Said>
      {said?.confirm && (
        <MailboxLink className="button button-small">Open the test mailbox</MailboxLink>
      )}
      <Field
        label="New email"
        id="new-email"
        name="email"
        type="email"
        inputMode="email"
        autoComplete="email"
        maxLength={254}
        hint="You may need to confirm the change from both addresses."
      />
      <PasswordField
        label="Current password"
        id="address-password"
        name="current_password"
        autoComplete="current-password"
        maxLength={256}
      />
      <Check site={site} attempt={attempt} />
      <Submit small busy={busy} busyText="One moment…">
        Change email address
      </Submit>
    </form>
  );
}

export function PasswordForm({ email, product, onChanged }) {
  const site = useSite();
  const [said, setSaid] = useState("");
  const { busy, problem, attempt, send } = useSettingsForm(site.captcha);
  const onSubmit = async (event) => {
    event.preventDefault();
    const form = event.currentTarget;
    setSaid("");
    const body = await send("/api/account/password", new FormData(form));
    if (!body) return;
    form.reset();
    setSaid(body.message);
    onChanged();
  };
  return (
    <form className="settings-form" method="post" action="/api/account/password" onSubmit={onSubmit}>
      <Problem problem={problem} />
      <Said>{said}</Said>
      <Username email={email} />
      <PasswordField
        label="Current password"
        id="password-password"
        name="current_password"
        autoComplete="current-password"
        maxLength={256}
      />
      <NewPasswordField label="New password" id="new-password" product={product} />
      <p className="hint">
        All other sessions are signed out. If you don't have a password yet or forgot it,{" "}
        <a href="/reset">email yourself a reset link</a>.
      </p>
      <Check site={site} attempt={attempt} />
      <Submit small busy={busy} busyText="One moment…">
        Change password
      </Submit>
    </form>
  );
}

const SIDE = 512;
const MAX_BYTES = 240 * 1024;
const UNREADABLE = {
  code: "picture_invalid",
  message: "Your browser can't read that file. Choose a PNG, JPEG, or WebP picture.",
};

// The middle square, as small as it needs to be. Raises what the browser says of unreadable files.
async function squared(file) {
  const picture = await createImageBitmap(file, { imageOrientation: "from-image" });
  const from = Math.min(picture.width, picture.height);
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = Math.min(SIDE, from);
  const [left, top] = [(picture.width - from) / 2, (picture.height - from) / 2];
  canvas.getContext("2d").drawImage(picture, left, top, from, from, 0, 0, canvas.width, canvas.width);
  picture.close();
  for (const [type, quality] of [["image/webp", 0.9], ["image/webp", 0.7], ["image/jpeg", 0.8]]) {
    const blob = await new Promise((done) => canvas.toBlob(done, type, quality));
    // A browser that can't write one type writes a PNG instead, which may be small enough.
    if (blob && blob.size <= MAX_BYTES) return blob;
  }
  throw new Error("no small enough picture");
}

export function PictureForm({ picture, initials, onChanged }) {
  const chooser = useRef(null);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState(null);
  const [said, setSaid] = useState("");
  const change = async (action, fields, words) => {
    const { ok, body } = await post(action, fields);
    if (ok) {
      setSaid(words);
      onChanged();
    } else if (body.code === "unauthenticated") leave();
    else setProblem(body);
  };
  const begin = () => {
    setBusy(true);
    setProblem(null);
    setSaid("");
  };
  const onChoose = async (event) => {
    const [file] = event.target.files;
    event.target.value = "";
    if (!file || busy) return;
    begin();
    try {
      const fields = new FormData();
      fields.append("picture", await squared(file), "picture");
      await change("/api/account/picture", fields, "Your picture has been changed.");
    } catch {
      setProblem(UNREADABLE);
    }
    setBusy(false);
  };
  const onRemove = async () => {
    if (busy) return;
    begin();
    // What has the focus is about to vanish.
    chooser.current?.focus();
    await change("/api/account/picture/remove", {}, "Your picture has been removed.");
    setBusy(false);
  };
  return (
    <div className="settings-form">
      <div className="picture-row">
        {picture ? (
          <img className="avatar avatar-large" src={picture} alt="Your picture" />
        ) : (
          <span className="avatar avatar-large" aria-hidden="true">
            {initials}
          </span>
        )}
        <div className="picture-actions">
          <label className="button button-small file-button" aria-disabled={busy}>
            {busy ? "One moment…" : picture ? "Change picture" : "Choose a picture"}
            <input
              ref={chooser}
              className="visually-hidden"
              type="file"
              accept="image/png,image/jpeg,image/webp"
              onChange={onChoose}
            />
          </label>
          {picture && (
            <button type="button" className="text-button" onClick={onRemove}>
              Remove
            </button>
          )}
        </div>
      </div>
      <Problem problem={problem} />
      <Said>{said}</Said>
      <p className="hint">Your picture is cropped to a square and resized before it's uploaded.</p>
    </div>
  );
}
