// Use by day, as bars stacked by model, in tokens or in replies. Drawn at the width it gets and a
// fixed height, so nothing moves. One tab stop: arrow keys go from day to day, and the same numbers
// stand in a table below.
import { useLayoutEffect, useRef, useState } from "react";

const HEIGHT = 220;
const TOP = 10;
const BOTTOM = 24;
const LEFT = 46;
const LABEL_PX = 52;
const TICKS = 4;
const LEAST_BAR_PX = 2;
const TIP_PX = 208;
const TIP_GAP_PX = 16;
// Of a day's width.
const GAP = 0.3;

const MEASURES = {
  tokens: { name: "Tokens", one: "token", many: "tokens" },
  replies: { name: "Replies", one: "reply", many: "replies" },
};

const numbers = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const sum = (values) => values.reduce((total, value) => total + value, 0);

function counted(value, measure) {
  const { one, many } = MEASURES[measure];
  return `${numbers.format(value)} ${value === 1 ? one : many}`;
}

function dayName(day, month = "short") {
  return new Intl.DateTimeFormat(undefined, { day: "numeric", month, timeZone: "UTC" }).format(
    new Date(`${day}T00:00:00Z`),
  );
}

// Round numbers up to at least `most`.
function scale(most) {
  const rough = Math.max(most, 1) / TICKS;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max([1, 2, 5, 10].find((n) => n * power >= rough) * power, 1);
  const top = Math.ceil(Math.max(most, 1) / step) * step;
  return { top, ticks: Array.from({ length: top / step + 1 }, (_, n) => n * step) };
}

function useWidth() {
  const frame = useRef(null);
  const [width, setWidth] = useState(0);
  useLayoutEffect(() => {
    const measure = () => setWidth(Math.floor(frame.current.clientWidth));
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(frame.current);
    return () => observer.disconnect();
  }, []);
  return [frame, width];
}

// One day's bar: the models on top of each other, and never too low to be seen.
function Stack({ at, width, series, measure, y, bottom }) {
  const total = sum(series.map((one) => one[measure][at]));
  if (total === 0) return null;
  const stretch = Math.max(1, LEAST_BAR_PX / (bottom - y(total)));
  let foot = bottom;
  return series.map((one) => {
    const height = (bottom - y(one[measure][at])) * stretch;
    foot -= height;
    return <rect key={one.tone} data-tone={one.tone} y={foot} width={width} height={height} />;
  });
}

function Tip({ day, at, series, measure, x, width }) {
  const box = useRef(null);
  // Beside the bar, on the side with more room.
  const wanted = x > width / 2 ? x - TIP_PX - TIP_GAP_PX : x + TIP_GAP_PX;
  const left = Math.max(0, Math.min(wanted, width - TIP_PX));
  useLayoutEffect(() => {
    box.current.style.transform = `translateX(${left}px)`;
  }, [left]);
  const shown = series.filter((one) => one[measure][at] > 0);
  return (
    <div ref={box} className="chart-tip" aria-hidden="true">
      <p className="chart-tip-head">
        <span>{dayName(day)}</span>
        <span>{counted(sum(series.map((one) => one[measure][at])), measure)}</span>
      </p>
      {shown.length > 1 &&
        shown.map((one) => (
          <p key={one.tone} data-tone={one.tone}>
            <span className="swatch" />
            <span className="share-label">{one.label}</span>
            <span className="number">{numbers.format(one[measure][at])}</span>
          </p>
        ))}
    </div>
  );
}

function Plot({ days, series, measure }) {
  const [frame, width] = useWidth();
  const [at, setAt] = useState(null);
  const [stop, setStop] = useState(days.length - 1);
  const bars = useRef(null);
  const bottom = HEIGHT - BOTTOM;
  const band = Math.max(width - LEFT, 0) / days.length;
  const totals = days.map((_, n) => sum(series.map((one) => one[measure][n])));
  const { top, ticks } = scale(Math.max(...totals));
  const y = (value) => bottom - (value / top) * (bottom - TOP);
  const every = Math.max(1, Math.ceil(LABEL_PX / Math.max(band, 1)));

  const point = (event) => {
    const inside = event.clientX - frame.current.getBoundingClientRect().left - LEFT;
    const day = Math.floor(inside / band);
    setAt(day >= 0 && day < days.length ? day : null);
  };
  const go = (event) => {
    const last = days.length - 1;
    const moves = { ArrowLeft: stop - 1, ArrowRight: stop + 1, Home: 0, End: last };
    if (event.key === "Escape") setAt(null);
    if (!(event.key in moves)) return;
    event.preventDefault();
    const next = Math.min(Math.max(moves[event.key], 0), last);
    bars.current.children[next].focus();
  };

  return (
    <div ref={frame} className="chart-frame">
      {width > 0 && (
        <svg
          width={width}
          height={HEIGHT}
          role="group"
          aria-label={`${MEASURES[measure].name} by day. Arrow keys go from day to day.`}
          onPointerMove={point}
          onPointerDown={point}
          onPointerLeave={() => setAt(null)}
          onKeyDown={go}
        >
          <g aria-hidden="true">
            {ticks.map((tick) => (
              <g key={tick} transform={`translate(0 ${y(tick)})`}>
                <line className="chart-grid" x1={LEFT} x2={width} />
                <text className="chart-label" x={LEFT - 8} dy="0.32em" textAnchor="end">
                  {short.format(tick)}
                </text>
              </g>
            ))}
            {days.map((day, n) =>
              (days.length - 1 - n) % every === 0 ? (
                <text
                  key={day}
                  className="chart-label"
                  x={n === days.length - 1 ? width : LEFT + (n + 0.5) * band}
                  y={HEIGHT - 4}
                  textAnchor={n === days.length - 1 ? "end" : "middle"}
                >
                  {n === days.length - 1 ? "Today" : dayName(day)}
                </text>
              ) : null,
            )}
            {at !== null && (
              <rect className="chart-band" x={LEFT + at * band} y={TOP} width={band} height={bottom - TOP} />
            )}
          </g>
          <g ref={bars} transform={`translate(${LEFT} 0)`}>
            {days.map((day, n) => (
              <g
                key={day}
                className="chart-day"
                transform={`translate(${(n + GAP / 2) * band} 0)`}
                tabIndex={n === stop ? 0 : -1}
                role="img"
                aria-label={`${dayName(day, "long")}: ${counted(totals[n], measure)}`}
                data-day={day}
                data-total={totals[n]}
                onFocus={() => {
                  setStop(n);
                  setAt(n);
                }}
                onBlur={() => setAt(null)}
              >
                <rect className="chart-target" y={TOP} width={band * (1 - GAP)} height={bottom - TOP} />
                <Stack
                  at={n}
                  width={band * (1 - GAP)}
                  series={series}
                  measure={measure}
                  y={y}
                  bottom={bottom}
                />
              </g>
            ))}
          </g>
        </svg>
      )}
      {at !== null && (
        <Tip day={days[at]} at={at} series={series} measure={measure} x={LEFT + (at + 0.5) * band} width={width} />
      )}
    </div>
  );
}

function Legend({ series }) {
  return (
    <ul className="legend">
      {series.map((one) => (
        <li key={one.tone} data-tone={one.tone}>
          <span className="swatch" aria-hidden="true" />
          {one.label}
        </li>
      ))}
    </ul>
  );
}

function Table({ days, series }) {
  const newestFirst = days.map((day, n) => ({ day, n })).reverse();
  const rows = newestFirst.flatMap(({ day, n }) =>
    series
      .filter((one) => one.tokens[n] > 0 || one.replies[n] > 0)
      .map((one) => ({ day, label: one.label, tokens: one.tokens[n], replies: one.replies[n] })),
  );
  return (
    <details className="chart-table">
      <summary className="text-button">Show as a table</summary>
      <table>
        <caption className="visually-hidden">Use by day and model, the newest first</caption>
        <thead>
          <tr>
            <th scope="col">Day</th>
            <th scope="col">Model</th>
            <th scope="col" className="number">Tokens</th>
            <th scope="col" className="number">Replies</th>
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={`${row.day} ${row.label}`}>
              <th scope="row">{dayName(row.day)}</th>
              <td>{row.label}</td>
              <td className="number">{numbers.format(row.tokens)}</td>
              <td className="number">{numbers.format(row.replies)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </details>
  );
}

export function UsageChart({ chart }) {
  const [measure, setMeasure] = useState("tokens");
  const { days, series } = chart ?? {};
  if (!days?.length) return <div className="chart-frame" />;
  if (series.length === 0) {
    return <p className="chart-frame chart-empty">No use in the last 30 days.</p>;
  }
  const whole = sum(series.flatMap((one) => one[measure]));
  return (
    <div className="chart">
      <div className="chart-head">
        <p>
          <span className="chart-whole">{counted(whole, measure)}</span>{" "}
          <span className="quiet">
            {measure === "tokens" ? "counted against the allowance" : "from models"}
          </span>
        </p>
        <div className="switch" role="group" aria-label="Show">
          {Object.keys(MEASURES).map((name) => (
            <button
              key={name}
              type="button"
              aria-pressed={name === measure}
              onClick={() => setMeasure(name)}
            >
              {MEASURES[name].name}
            </button>
          ))}
        </div>
      </div>
      <Plot days={days} series={series} measure={measure} />
      <div className="chart-foot">
        <Legend series={series} />
        <span className="quiet">Days are UTC.</span>
      </div>
      <Table days={days} series={series} />
    </div>
  );
}
