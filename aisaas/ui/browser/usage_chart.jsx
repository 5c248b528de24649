// One's own use by day, as bars stacked by model, in tokens or in replies.
import { Bars } from "$/components/own/bars.jsx";
import { count, date } from "$/components/own/formats.jsx";

const MEASURES = [
  {
    key: "tokens",
    label: "Tokens",
    one: "token",
    many: "tokens",
    said: "counted toward your allowance",
  },
  { key: "replies", label: "Replies", one: "reply", many: "replies", said: "from models" },
];

// What each model was used for each day, the newest first.
function tableOf({ days, series }) {
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
      { label: "Tokens", number: true },
      { label: "Replies", number: true },
    ],
    rows,
  };
}

export function UsageChart({ chart }) {
  const { days, series } = chart ?? {};
  if (!days?.length) return <div className="chart-frame" />;
  if (series.length === 0) {
    return <p className="chart-frame chart-empty">No usage in the last 30 days.</p>;
  }
  const measures = MEASURES.map((measure) => ({
    ...measure,
    series: series.map(({ label, tone, ...amounts }) => ({ label, tone, amounts: amounts[measure.key] })),
  }));
  return <Bars chart={{ points: days, by: "day", every: 1, today: true, measures }} table={tableOf(chart)} />;
}
