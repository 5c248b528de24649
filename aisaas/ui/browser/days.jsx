// Days by the reader's calendar, which only the browser knows. A day may have 23 or 25 hours, so days
// are counted by date and never by length.
import { useEffect, useState } from "react";

const GROUPS = [
  ["Today", 0],
  ["Yesterday", 1],
  ["Previous 7 days", 7],
];

// When the day began that was `days` before the one of `moment`.
function dayBefore(moment, days) {
  const date = new Date(moment);
  return new Date(date.getFullYear(), date.getMonth(), date.getDate() - days).getTime();
}

// Rows by day: [label, rows], in the order they came. `today` is any moment of today.
export function grouped(items, today) {
  const starts = GROUPS.map(([label, days]) => [label, dayBefore(today, days)]);
  const groups = new Map();
  for (const item of items) {
    const at = Date.parse(item.at);
    const [label] = starts.find(([, start]) => at >= start) ?? ["Older"];
    if (!groups.has(label)) groups.set(label, []);
    groups.get(label).push(item);
  }
  return [...groups];
}

// When today began; renders again when it's another day.
export function useToday() {
  const [today, setToday] = useState(() => dayBefore(Date.now(), 0));
  useEffect(() => {
    const look = () => setToday(dayBefore(Date.now(), 0));
    const timer = setTimeout(look, dayBefore(today, -1) - Date.now() + 1000);
    // A computer that slept is late.
    document.addEventListener("visibilitychange", look);
    return () => {
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", look);
    };
  }, [today]);
  return today;
}
