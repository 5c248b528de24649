// Everybody's use over a span, for admins.
import { Bars, sumsTable } from "$/components/own/bars.jsx";

export function ReportChart({ chart }) {
  if (!chart?.points?.length) return <div className="chart-frame" />;
  return <Bars chart={chart} table={sumsTable(chart, "All figures, newest first")} />;
}
