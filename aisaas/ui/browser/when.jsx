// A moment in the reader's own time zone, or how long ago it was. The server renders it in UTC, so
// nothing jumps.
import { useEffect, useState } from "react";
import { ago, date, moment } from "$/components/own/formats.jsx";

export function When({ at, show }) {
  const [zone, setZone] = useState("UTC");
  useEffect(() => setZone(undefined), []);
  if (!at) return null;
  if (show === "ago" && !zone) {
    return (
      <time dateTime={at} title={moment(at)}>
        {ago(at)}
      </time>
    );
  }
  return <time dateTime={at}>{show === "date" ? date(at, zone) : moment(at, zone)}</time>;
}
