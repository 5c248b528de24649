// When something may be tried again. Counts silently: the sentence beside it is announced once.
import { useEffect, useState } from "react";
import { date } from "$/components/own/formats.jsx";

const DAY = 86400;

function remaining(at, now) {
  return Math.max(0, Math.ceil((Date.parse(at) - now) / 1000));
}

function clock(seconds) {
  const two = (n) => String(n).padStart(2, "0");
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.floor(seconds / 60) % 60;
  return hours
    ? `${hours}:${two(minutes)}:${two(seconds % 60)}`
    : `${minutes}:${two(seconds % 60)}`;
}

function wait(at, seconds) {
  if (seconds === 0) return "You can try again now.";
  return seconds < DAY ? `Try again in ${clock(seconds)}.` : `Try again on ${date(at)}.`;
}

export function Countdown({ at }) {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    setNow(Date.now());
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, [at]);
  return (
    <span className="alert-clock" role="timer" aria-live="off">
      {wait(at, remaining(at, now))}
    </span>
  );
}
