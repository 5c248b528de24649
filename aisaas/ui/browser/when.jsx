// A moment in the reader's own time zone. The server renders it in UTC, so nothing jumps.
import { useEffect, useState } from "react";

const FORMATS = {
  date: { day: "numeric", month: "long", year: "numeric" },
  minute: { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" },
};

export function When({ at, show }) {
  const [zone, setZone] = useState("UTC");
  useEffect(() => setZone(undefined), []);
  if (!at) return null;
  const text = new Intl.DateTimeFormat(zone ? "en-GB" : undefined, {
    ...FORMATS[show ?? "date"],
    timeZone: zone,
  }).format(new Date(at));
  return <time dateTime={at}>{text}</time>;
}
