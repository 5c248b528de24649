// How dates, amounts and shares read: en-US, the same as aisaas/formats.py on the server. Dates are in the
// reader's time zone unless one is given.
const LOCALE = "en-US";
const DAY = { month: "short", day: "numeric" };
const DATE = { ...DAY, year: "numeric" };
const TIME = { hour: "numeric", minute: "2-digit" };
const UNITS = [
  ["day", 86400],
  ["hour", 3600],
  ["minute", 60],
];

const numbers = new Intl.NumberFormat(LOCALE);
const short = new Intl.NumberFormat(LOCALE, { notation: "compact", maximumFractionDigits: 1 });
const relative = new Intl.RelativeTimeFormat(LOCALE, { numeric: "auto" });
const dollars = (options) => new Intl.NumberFormat(LOCALE, { style: "currency", currency: "USD", ...options });
const cents = dollars({});
const micros = dollars({ minimumFractionDigits: 6, maximumFractionDigits: 6 });
const tag = dollars({ trailingZeroDisplay: "stripIfInteger", maximumFractionDigits: 12 });
const shortDollars = dollars({ notation: "compact", minimumFractionDigits: 0, maximumSignificantDigits: 2 });

const signed = (text) => text.replace("-", "−");

export const count = (number) => numbers.format(number);
export const shortCount = (number) => short.format(number);
export const usd = (amount) => signed(cents.format(amount));
export const exactUsd = (amount) => signed(micros.format(amount));
export const price = (amount) => signed(tag.format(amount));
export const shortUsd = (amount) => signed(shortDollars.format(amount));

// Some engines put a narrow space before AM and PM.
const written = (at, shape, timeZone) =>
  new Intl.DateTimeFormat(LOCALE, { ...shape, timeZone }).format(new Date(at)).replaceAll("\u202f", " ");

// Nov 29, 2026
export const date = (at, timeZone) => written(at, DATE, timeZone);
// Nov 29, where the year is clear.
export const day = (at, timeZone) => written(at, DAY, timeZone);
// 9 AM
export const hour = (at, timeZone) => written(at, { hour: "numeric" }, timeZone);
// Nov 29, 2026, 9:05 AM
export const moment = (at, timeZone) => written(at, { ...DATE, ...TIME }, timeZone);

export function ago(at) {
  const seconds = (Date.now() - Date.parse(at)) / 1000;
  const [unit, length] = UNITS.find(([, size]) => seconds >= size) ?? [];
  return unit ? relative.format(-Math.floor(seconds / length), unit) : "just now";
}
