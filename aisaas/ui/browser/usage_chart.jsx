// A user's usage by day, as bars stacked by model, in tokens or in replies.
import { Bars } from "$/components/own/bars.jsx";
import { count, date } from "$/components/own/formats.jsx";

const REPLIES = { key: "replies", label: "Replies", one: "reply", many: "replies", said: "from models" };
const OWN = [
  { key: "tokens", label: "Tokens", one: "token", many: "tokens", said: "counted toward your allowance" },
  REPLIES,
];
// Admins tell a model's tokens from those that count by its weight.
const ADMINS = [
  { key: "tokens", label: "Quota tokens", one: "quota token", many: "quota tokens", said: "used" },
  REPLIES,
];

// Each model's usage on each day, newest first.
function tableOf({ days, series }, [tokens]) {
  const newestFirst = days.map((day, n) => ({ day, n })).reverse();
  const rows = newestFirst.flatMap(({ day, n }) =>
    series
      .filter((one) => one.tokens[n] > 0 || one.replies[n] > 0)
      .map((one) => ({
        key: `${day} ${one.label}`,
        cells: [
          date(day, "UTC"),
          one.label,
          count(one.tokens[n]),
          count(one.replies[n]),
        ],
      })),
  );
  return {
    caption: "Usage by day and model, newest first",
    heads: [
      { label: "Day" },
      { label: "Model" },
      { label: tokens.label, number: true },
      { label: "Replies", number: true },
    ],
    rows,
  };
}

export function UsageChart({ chart, admin }) {
  const { days, series } = chart ?? {};
  if (!days?.length) return <div className="chart-frame" />;
  if (series.length === 0) {
    return <p className="chart-frame chart-empty">No usage in the last 30 days.</p>;
  }
  const measures = (admin ? ADMINS : OWN).map((measure) => ({
    ...measure,
    series: series.map(({ label, tone, ...amounts }) => ({ label, tone, amounts: amounts[measure.key] })),
  }));
  return <Bars chart={{ points: days, by: "day", every: 1, today: true, measures }} table={tableOf(chart, measures)} />;
}
