// Bars over time, stacked by series, one measure at a time. Drawn at the available width and a fixed
// height, so nothing moves. One tab stop: arrow keys move between bars. `children` is a table of the same
// numbers.
//
// `points` are the moments (UTC, ISO 8601) at which bars begin, each `every` days or an hour long.
// A measure is {key, label, one, many, money, said, cap, series: [{label, tone, amounts}]}: `said`
// stands beside its total, and a `cap` is drawn as a line. Without series of its own, the chart's are.
import { useLayoutEffect, useRef, useState } from "react";
import { count, date, day, exactUsd, hour, shortCount, shortUsd, usd } from "$/components/own/formats.jsx";

const HEIGHT = 220;
const TOP = 10;
const BOTTOM = 24;
const LEFT = 46;
const LEFT_MONEY = 58;
const LABEL_PX = 52;
const TICKS = 4;
const LEAST_BAR_PX = 2;
const TIP_PX = 208;
const TIP_GAP_PX = 16;
const DAY_MS = 86400000;
const MIDNIGHT = /T00:/;
// Of a bar's width.
const GAP = 0.3;

const sum = (values) => values.reduce((total, value) => total + value, 0);
const whole = (measure, at) => sum(measure.series.map((one) => one.amounts[at]));
const total = (measure) => sum(measure.series.map((one) => sum(one.amounts)));

// One precision in a chart: cents, unless all of it comes to less than a dollar.
function amount(value, measure) {
  if (!measure.money) return count(value);
  return total(measure) < 1 ? exactUsd(value) : usd(value);
}

function counted(value, measure) {
  if (measure.money) return amount(value, measure);
  return `${count(value)} ${value === 1 ? measure.one : measure.many}`;
}

// What a bar stands for.
function nameOf(chart, n) {
  const at = chart.points[n];
  const name = date(at, "UTC");
  if (chart.by === "hour") return `${name}, ${hour(at, "UTC")}`;
  if (chart.every < 2) return name;
  const end = chart.points[n + 1] ? Date.parse(chart.points[n + 1]) : Date.parse(chart.end);
  return `${day(at, "UTC")} – ${date(end - DAY_MS, "UTC")}`;
}

// The bars with a name below them, and the names.
function labelsOf(chart, band) {
  const { points, by } = chart;
  const last = points.length - 1;
  const named = new Map();
  if (by === "hour" && points.length > 24) {
    const midnights = points.flatMap((at, n) => (MIDNIGHT.test(at) ? [n] : []));
    const every = Math.max(1, Math.ceil(LABEL_PX / Math.max(24 * band, 1)));
    midnights.filter((_, n) => n % every === 0).forEach((n) => named.set(n, day(points[n], "UTC")));
    return named;
  }
  const every = Math.max(1, Math.ceil(LABEL_PX / Math.max(band, 1)));
  for (let n = last; n >= 0; n -= every) {
    named.set(n, by === "hour" ? hour(points[n], "UTC") : day(points[n], "UTC"));
  }
  if (chart.today) named.set(last, "Today");
  return named;
}

// Round numbers up to at least `most`; things that are counted have no fractions.
function scale(most, money) {
  const reached = money ? most || 1 : Math.max(most, 1);
  const rough = reached / TICKS;
  const power = 10 ** Math.floor(Math.log10(rough));
  const round = [1, 2, 5, 10].find((n) => n * power >= rough) * power;
  const step = money ? round : Math.max(round, 1);
  const steps = Math.ceil(reached / step - 1e-9);
  return { top: steps * step, ticks: Array.from({ length: steps + 1 }, (_, n) => n * step) };
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

// One bar: the series on top of each other, and never too low to be seen.
function Stack({ at, width, measure, y, bottom }) {
  const total = whole(measure, at);
  if (total <= 0) return null;
  const stretch = Math.max(1, LEAST_BAR_PX / (bottom - y(total)));
  let foot = bottom;
  return measure.series.map((one) => {
    const height = (bottom - y(one.amounts[at])) * stretch;
    foot -= height;
    return <rect key={one.tone} data-tone={one.tone} y={foot} width={width} height={height} />;
  });
}

function Tip({ name, at, measure, x, width }) {
  const box = useRef(null);
  // Beside the bar, on the side with more room.
  const wanted = x > width / 2 ? x - TIP_PX - TIP_GAP_PX : x + TIP_GAP_PX;
  const left = Math.max(0, Math.min(wanted, width - TIP_PX));
  useLayoutEffect(() => {
    box.current.style.transform = `translateX(${left}px)`;
  }, [left]);
  const shown = measure.series.filter((one) => one.amounts[at] > 0);
  return (
    <div ref={box} className="chart-tip" aria-hidden="true">
      <p className="chart-tip-head">
        <span>{name}</span>
        <span>{counted(whole(measure, at), measure)}</span>
      </p>
      {shown.length > 1 &&
        shown.map((one) => (
          <p key={one.tone} data-tone={one.tone}>
            <span className="swatch" />
            <span className="share-label">{one.label}</span>
            <span className="number">{amount(one.amounts[at], measure)}</span>
          </p>
        ))}
    </div>
  );
}

function Axis({ ticks, y, left, width, measure }) {
  const format = measure.money ? shortUsd : shortCount;
  return ticks.map((tick) => (
    <g key={tick} transform={`translate(0 ${y(tick)})`}>
      <line className="chart-grid" x1={left} x2={width} />
      <text className="chart-label" x={left - 8} dy="0.32em" textAnchor="end">
        {format(tick)}
      </text>
    </g>
  ));
}

function Plot({ chart, measure }) {
  const { points, by } = chart;
  const last = points.length - 1;
  const [frame, width] = useWidth();
  const [at, setAt] = useState(null);
  const [stop, setStop] = useState(last);
  const bars = useRef(null);
  const left = measure.money ? LEFT_MONEY : LEFT;
  const bottom = HEIGHT - BOTTOM;
  const band = Math.max(width - left, 0) / points.length;
  const totals = points.map((_, n) => whole(measure, n));
  const { top, ticks } = scale(Math.max(...totals, measure.cap ?? 0), measure.money);
  const y = (value) => bottom - (value / top) * (bottom - TOP);
  const labels = labelsOf(chart, band);
  // Of another span there may be fewer bars.
  const current = Math.min(stop, last);
  const shown = at !== null && at <= last;

  const point = (event) => {
    const inside = event.clientX - frame.current.getBoundingClientRect().left - left;
    const bar = Math.floor(inside / band);
    setAt(bar >= 0 && bar <= last ? bar : null);
  };
  const go = (event) => {
    const moves = { ArrowLeft: current - 1, ArrowRight: current + 1, Home: 0, End: last };
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
          aria-label={`${measure.label} by ${by}. Use the arrow keys to move between ${by}s.`}
          onPointerMove={point}
          onPointerDown={point}
          onPointerLeave={() => setAt(null)}
          onKeyDown={go}
        >
          <g aria-hidden="true">
            <Axis ticks={ticks} y={y} left={left} width={width} measure={measure} />
            {[...labels].map(([n, name]) => (
              <text
                key={points[n]}
                className="chart-label"
                x={n === last ? width : left + (n + 0.5) * band}
                y={HEIGHT - 4}
                textAnchor={n === last ? "end" : "middle"}
              >
                {name}
              </text>
            ))}
            {shown && (
              <rect className="chart-band" x={left + at * band} y={TOP} width={band} height={bottom - TOP} />
            )}
          </g>
          <g ref={bars} transform={`translate(${left} 0)`}>
            {points.map((begin, n) => (
              <g
                key={begin}
                className="chart-day"
                transform={`translate(${(n + GAP / 2) * band} 0)`}
                tabIndex={n === current ? 0 : -1}
                role="img"
                aria-label={`${nameOf(chart, n)}: ${counted(totals[n], measure)}`}
                data-day={begin}
                data-total={totals[n]}
                onFocus={() => {
                  setStop(n);
                  setAt(n);
                }}
                onBlur={() => setAt(null)}
              >
                <rect className="chart-target" y={TOP} width={band * (1 - GAP)} height={bottom - TOP} />
                <Stack at={n} width={band * (1 - GAP)} measure={measure} y={y} bottom={bottom} />
              </g>
            ))}
          </g>
          {measure.cap > 0 && (
            <line className="chart-cap" x1={left} x2={width} y1={y(measure.cap)} y2={y(measure.cap)} />
          )}
        </svg>
      )}
      {shown && (
        <Tip name={nameOf(chart, at)} at={at} measure={measure} x={left + (at + 0.5) * band} width={width} />
      )}
    </div>
  );
}

function Legend({ measure }) {
  return (
    <ul className="legend">
      {measure.series.map((one) => (
        <li key={one.tone} data-tone={one.tone}>
          <span className="swatch" aria-hidden="true" />
          {one.label}
        </li>
      ))}
      {measure.cap > 0 && (
        <li>
          <span className="swatch-line" aria-hidden="true" />
          Cap: {usd(measure.cap)}
        </li>
      )}
    </ul>
  );
}

// Of series that all measures share, each has the amounts under its key.
const shared = (series, key) => series.map((one) => ({ ...one, amounts: one[key] }));

export function Bars({ chart, children }) {
  const [chosen, setChosen] = useState(chart.measures[0].key);
  const found = chart.measures.find(({ key }) => key === chosen) ?? chart.measures[0];
  const measure = found.series ? found : { ...found, series: shared(chart.series, found.key) };
  return (
    <div className="chart">
      <div className="chart-head">
        <p>
          <span className="chart-whole">{counted(total(measure), measure)}</span>{" "}
          <span className="quiet">{measure.said}</span>
        </p>
        <div className="switch" role="group" aria-label="Show">
          {chart.measures.map(({ key, label }) => (
            <button key={key} type="button" aria-pressed={key === measure.key} onClick={() => setChosen(key)}>
              {label}
            </button>
          ))}
        </div>
      </div>
      <Plot chart={chart} measure={measure} />
      <div className="chart-foot">
        <Legend measure={measure} />
        <span className="quiet">{chart.by === "hour" ? "Hours are in UTC." : "Days are in UTC."}</span>
      </div>
      {children}
    </div>
  );
}
