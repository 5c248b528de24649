// A moment in the reader's own time zone, or how long ago it was. The server renders it in UTC, so
// nothing jumps.
import { useEffect, useState } from "react";

const FORMATS = {
  date: { day: "numeric", month: "long", year: "numeric" },
  minute: { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" },
};
const UNITS = [
  ["day", 86400],
  ["hour", 3600],
  ["minute", 60],
];

function ago(at) {
  const seconds = (Date.now() - Date.parse(at)) / 1000;
  const [unit, length] = UNITS.find(([, size]) => seconds >= size) ?? [];
  if (!unit) return "just now";
  const format = new Intl.RelativeTimeFormat("en-GB", { numeric: "auto" });
  return format.format(-Math.floor(seconds / length), unit);
}

export function When({ at, show }) {
  const [zone, setZone] = useState("UTC");
  useEffect(() => setZone(undefined), []);
  if (!at) return null;
  const format = new Intl.DateTimeFormat(zone ? "en-GB" : undefined, {
    ...(FORMATS[show ?? "date"] ?? FORMATS.minute),
    timeZone: zone,
  });
  const text = format.format(new Date(at));
  if (show === "ago" && !zone) {
    return (
      <time dateTime={at} title={text}>
        {ago(at)}
      </time>
    );
  }
  return <time dateTime={at}>{text}</time>;
}
