// Checks that a visitor is human, through the vendor whose site key is set; without a key nothing
// is loaded. The answer is sent as the form field `captcha`. It is valid for one submission, so a
// new `attempt` asks again, and so does an expired answer.
import { useEffect, useRef, useState } from "react";
import { useSending } from "$/components/own/forms.jsx";
import { useSite } from "$/components/own/site.js";

const VENDORS = {
  turnstile: {
    script: "https://challenges.cloudflare.com/turnstile/v0/api.js?render=explicit",
    global: "turnstile",
  },
  hcaptcha: { script: "https://js.hcaptcha.com/1/api.js?render=explicit", global: "hcaptcha" },
};
const loading = {};

function load(provider) {
  const { script, global } = VENDORS[provider];
  loading[provider] ??= new Promise((resolve, reject) => {
    const called = `captchaReady_${provider}`;
    window[called] = () => resolve(window[global]);
    const element = document.createElement("script");
    element.src = `${script}&onload=${called}`;
    element.async = true;
    element.onerror = () => {
      delete loading[provider];
      element.remove();
      reject(new Error("the captcha did not load"));
    };
    document.head.append(element);
  });
  return loading[provider];
}

export function HumanCheck() {
  const { captcha } = useSite();
  const { attempt } = useSending();
  return captcha && <Captcha captcha={captcha} attempt={attempt} />;
}

function Captcha({ captcha, attempt }) {
  const box = useRef(null);
  const shown = useRef(null);
  const [token, setToken] = useState("");
  const [failed, setFailed] = useState(false);
  const { provider, site_key: siteKey } = captcha;

  const renew = () => {
    setToken("");
    if (shown.current) shown.current.vendor.reset(shown.current.id);
  };
  useEffect(() => {
    let here = true;
    load(provider).then(
      (vendor) => {
        if (!here) return;
        const id = vendor.render(box.current, {
          sitekey: siteKey,
          theme: document.documentElement.classList.contains("dark") ? "dark" : "light",
          "refresh-expired": "manual",
          callback: (answer) => {
            setFailed(false);
            setToken(answer);
          },
          "expired-callback": renew,
          "error-callback": () => setFailed(true),
        });
        shown.current = { vendor, id };
      },
      () => here && setFailed(true),
    );
    return () => {
      here = false;
      if (shown.current) shown.current.vendor.remove?.(shown.current.id);
      shown.current = null;
    };
  }, [provider, siteKey]);
  useEffect(() => {
    if (attempt) renew();
  }, [attempt]);
  return (
    <div className="captcha">
      <div ref={box} />
      <input type="hidden" name="captcha" value={token} />
      {failed && (
        <p className="hint" role="alert">
          We couldn't load the check that you're human. If your browser blocks it, allow it and reload the page.
        </p>
      )}
    </div>
  );
}
