// What a code in a page's address means. Nothing else of an address is ever shown.
const RETRY_VISIT = "That sign-in took too long or was used already. Start it again.";
const SLOWER = "Too many tries. Wait a while and try again.";

const ERRORS = {
  access_denied: "You cancelled the sign-in. Nothing was changed.",
  bad_code_verifier: "That sign-in was started in another browser. Start it again here.",
  bad_oauth_state: RETRY_VISIT,
  captcha_failed: "The check that you are human didn't work. Try it once more.",
  current_password_wrong: "That isn't your current password.",
  email_address_invalid: "That email address can't be used.",
  email_exists: "There is already an account with that email address.",
  email_not_confirmed: "Confirm your email address first; we sent you a link.",
  flow_state_expired: RETRY_VISIT,
  flow_state_not_found: RETRY_VISIT,
  invalid_credentials: "That email and password don't match an account.",
  otp_expired: "That link has been used or is too old. Ask for a new one.",
  over_email_send_rate_limit: "Too many mails were asked for. Wait a minute and try again.",
  over_request_rate_limit: SLOWER,
  picture_invalid: "Choose a PNG, JPEG or WebP picture of at most 256 KB.",
  provider_disabled: "That way to sign in isn't available.",
  provider_email_needs_verification:
    "The provider hasn't verified your address. Open the link we mailed you, or sign in another way.",
  provider_failed: "The provider didn't finish the sign-in. Start it again, or sign in another way.",
  same_password: "That is your password already. Choose another one.",
  signup_disabled: "There is no account for you here yet, and sign-up isn't open.",
  too_many_tries: SLOWER,
  unauthenticated: "You are signed out. Sign in to go on.",
  unavailable: "Something we depend on isn't answering. Try again in a moment.",
  user_already_exists: "There is already an account with that email address. Sign in instead.",
  user_banned: "This account is suspended.",
  validation_failed: "Something was missing or malformed. Check what you typed.",
  visit_lost: RETRY_VISIT,
  weak_password: "Use at least 8 characters for the password.",
};
const SOME_ERROR = "That didn't work. Try it once more.";

const NOTICES = {
  address_changed: "Your address is changed.",
  address_sent: "We sent links to confirm the change of your address.",
  confirm: "We sent you a link. Open it to confirm your address.",
  link_sent: "If there is an account with that address, we sent a link to it.",
  one_more: "That's one of two. Open the link in the mail to your other address as well.",
  others_signed_out: "All other sessions are signed out.",
  password_changed: "Your password is changed. All other sessions are signed out.",
  picture_changed: "Your picture is changed.",
  picture_removed: "Your picture is removed.",
  session_ended: "That session is signed out.",
  signed_out_everywhere: "You are signed out everywhere.",
};

const known = (table, code) => (Object.hasOwn(table, code) ? table[code] : undefined);

// {code, message} for each of the two that the query has.
export function saidIn(query) {
  const params = new URLSearchParams(query);
  const [error, notice] = [params.get("error"), params.get("notice")];
  const sentence = notice && known(NOTICES, notice);
  return {
    problem: error ? { code: known(ERRORS, error) ? error : "", message: known(ERRORS, error) ?? SOME_ERROR } : null,
    notice: sentence ? { code: notice, message: sentence } : null,
  };
}
