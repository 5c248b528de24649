// What this install allows and sells, and where its terms are. The server puts it into every page
// (`api.pages`), so that one build serves whatever is set; the server decides anyway.
import { useSyncExternalStore } from "react";
import { ERRORS, NOTICES, SOME_ERROR } from "$/components/own/messages.js";

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

// None of this changes while a page is open, so there is nothing to subscribe to.
const unchanging = () => () => {};

export const useSite = () => useSyncExternalStore(unchanging, read, () => BUILT);

// Whether this is what was built, which is the same for everybody: the stylesheet chooses from it.
export const useBuilt = () => useSyncExternalStore(unchanging, () => false, () => true);

const known = (table, code) => (Object.hasOwn(table, code) ? table[code] : undefined);

// What a page's address says: what went wrong or was done, by its code (nothing else of an address is ever
// shown), and where to go on, for the page's own fields and for its links.
export function addressOf(search) {
  const query = new URLSearchParams(search);
  const [error, notice] = [query.get("error"), query.get("notice")];
  const problem = error && known(ERRORS, error);
  const target = query.get("redirectTo") ?? "";
  return {
    problem: error ? { code: problem ? error : "", message: problem ?? SOME_ERROR } : null,
    notice: (notice && known(NOTICES, notice)) ?? "",
    target,
    onward: target && `?redirectTo=${encodeURIComponent(target)}`,
    chooses: query.has("choose"),
  };
}

export const useAddress = () =>
  addressOf(useSyncExternalStore(unchanging, () => window.location.search, () => ""));
