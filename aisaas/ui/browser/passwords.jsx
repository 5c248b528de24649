// Shows a new password's problems at the field before the form is sent. The server has the same
// rules (accounts/passwords.py) and decides.
import { useEffect, useRef } from "react";

const LEAST_CHARS = 8;
const MOST_BYTES = 72;
const LEAST_DIFFERENT = 3;
const LIST = "/common-passwords.txt";
const TOO_SHORT = "Use at least 8 characters for your password.";
const TOO_LONG =
  "Your password is too long. It can have up to 72 bytes: that's 72 Latin letters, or 36 Cyrillic ones.";
const TOO_COMMON = "That password is too common, so it's easy to guess. Choose another one.";
const TOO_PERSONAL = "Don't use your name, your email address, or this site's name as your password.";

const common = new Set();
let loading;

// Without the list the server still refuses what is on it.
async function loadCommon() {
  try {
    const answer = await fetch(LIST);
    if (!answer.ok) throw new Error(LIST);
    for (const line of (await answer.text()).split("\n")) common.add(line);
  } catch {
    loading = undefined;
  }
}

const core = (text) => text.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "").replace(/[0-9]+$/, "");

export function problemOf(password, { email = "", fullName = "", product = "" }) {
  const characters = [...password.toLowerCase()];
  if (characters.length < LEAST_CHARS) return TOO_SHORT;
  if (new TextEncoder().encode(password).length > MOST_BYTES) return TOO_LONG;
  if (common.has(password.toLowerCase()) || new Set(characters).size < LEAST_DIFFERENT) return TOO_COMMON;
  const [local, domain = ""] = email.split("@");
  const own = [email, local, domain, fullName, product].map(core);
  return core(password) && own.includes(core(password)) ? TOO_PERSONAL : "";
}

// For the field of a new password, where there is a `product`: the browser shows the sentence and doesn't send the form.
export function useNewPassword(product) {
  const field = useRef(null);
  useEffect(() => {
    if (!product) return undefined;
    const input = field.current;
    const { form } = input;
    const check = () => {
      const { email, username, full_name: fullName } = form.elements;
      // The settings' form names the account in a hidden field.
      const own = { email: (username ?? email)?.value, fullName: fullName?.value, product };
      input.setCustomValidity(input.value ? problemOf(input.value, own) : "");
    };
    const prepare = () => {
      loading ??= loadCommon();
      loading.then(check);
    };
    form.addEventListener("input", check);
    input.addEventListener("focus", prepare);
    return () => {
      form.removeEventListener("input", check);
      input.removeEventListener("focus", prepare);
    };
  }, [product]);
  return field;
}
