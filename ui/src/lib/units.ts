// Units by the names that dashboards use (Grafana's), and numbers written in them.
import { bytes, num, seconds } from './format.ts';
import { ago } from './time.ts';

const trim = (text: string): string => (text.includes('.') ? text.replace(/\.?0+$/, '') : text);
const fixed = (value: number, decimals: number | null, usual: number): string => (decimals === null ? trim(value.toFixed(usual)) : value.toFixed(decimals));

/** `value` with a prefix of a thousand or 1024 each. */
function scaled(value: number, base: number, names: readonly string[], decimals: number | null, gap = ' '): string {
  if (!Number.isFinite(value)) return num(value);
  let i = 0;
  let size = value;
  while (Math.abs(size) >= base && i < names.length - 1) {
    size /= base;
    i++;
  }
  const usual = Math.abs(size) >= 100 || (i === 0 && Number.isInteger(size)) ? 0 : Math.abs(size) >= 10 ? 1 : 2;
  return `${fixed(size, decimals, usual)}${gap}${names[i] ?? ''}`.trimEnd();
}
const IEC = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'];
const SI = ['B', 'kB', 'MB', 'GB', 'TB', 'PB', 'EB'];
const BITS = ['b', 'kb', 'Mb', 'Gb', 'Tb', 'Pb'];
const per = (names: readonly string[]): string[] => names.map((name) => `${name}/s`);
const si = (unit: string): string[] => ['', 'k', 'M', 'G', 'T', 'P'].map((prefix) => `${prefix}${unit}`);

type Write = (value: number, decimals: number | null) => string;
const suffix = (text: string): Write => (value, decimals) => `${decimals === null ? num(value) : value.toFixed(decimals)}${text}`;
const time = (factor: number): Write => (value, decimals) => (decimals === null || Math.abs(value * factor) >= 120 ? seconds(value * factor) : scaledTime(value * factor, decimals));
function scaledTime(value: number, decimals: number): string {
  const size = Math.abs(value);
  if (size > 0 && size < 1e-3) return `${(value * 1e6).toFixed(decimals)} µs`;
  if (size > 0 && size < 1) return `${(value * 1e3).toFixed(decimals)} ms`;
  return `${value.toFixed(decimals)} s`;
}
const short: Write = (value, decimals) => (decimals === null ? num(value) : scaled(value, 1000, ['', 'k', 'M', 'G', 'T', 'P'], decimals, ' '));

const UNITS: Record<string, Write> = {
  '': short,
  none: (value, decimals) => (decimals === null ? trim(value.toFixed(Math.abs(value) < 1 ? 3 : 2)) : value.toFixed(decimals)),
  short,
  sishort: short,
  string: (value) => String(value),
  percent: (value, decimals) => `${fixed(value, decimals, Math.abs(value) < 10 ? 2 : 1)}%`,
  percentunit: (value, decimals) => `${fixed(value * 100, decimals, Math.abs(value) < 0.1 ? 2 : 1)}%`,
  bytes: (value, decimals) => (decimals === null ? bytes(value) : scaled(value, 1024, IEC, decimals)),
  decbytes: (value, decimals) => scaled(value, 1000, SI, decimals),
  kbytes: (value, decimals) => scaled(value * 1024, 1024, IEC, decimals),
  mbytes: (value, decimals) => scaled(value * 1048576, 1024, IEC, decimals),
  gbytes: (value, decimals) => scaled(value * 1073741824, 1024, IEC, decimals),
  deckbytes: (value, decimals) => scaled(value * 1e3, 1000, SI, decimals),
  decmbytes: (value, decimals) => scaled(value * 1e6, 1000, SI, decimals),
  decgbytes: (value, decimals) => scaled(value * 1e9, 1000, SI, decimals),
  bits: (value, decimals) => scaled(value, 1024, BITS, decimals),
  decbits: (value, decimals) => scaled(value, 1000, BITS, decimals),
  bps: (value, decimals) => scaled(value, 1000, per(BITS), decimals),
  binbps: (value, decimals) => scaled(value, 1024, per(BITS), decimals),
  Bps: (value, decimals) => scaled(value, 1000, per(SI), decimals),
  binBps: (value, decimals) => scaled(value, 1024, per(IEC), decimals),
  KBs: (value, decimals) => scaled(value * 1e3, 1000, per(SI), decimals),
  MBs: (value, decimals) => scaled(value * 1e6, 1000, per(SI), decimals),
  GBs: (value, decimals) => scaled(value * 1e9, 1000, per(SI), decimals),
  Kbits: (value, decimals) => scaled(value * 1e3, 1000, per(BITS), decimals),
  Mbits: (value, decimals) => scaled(value * 1e6, 1000, per(BITS), decimals),
  Gbits: (value, decimals) => scaled(value * 1e9, 1000, per(BITS), decimals),
  ns: time(1e-9),
  µs: time(1e-6),
  us: time(1e-6),
  ms: time(1e-3),
  s: time(1),
  m: time(60),
  h: time(3600),
  d: time(86400),
  dtdurations: (value) => ago(value * 1000),
  dtdurationms: (value) => ago(value),
  dthms: (value) => ago(value * 1000),
  clocks: (value) => ago(value * 1000),
  clockms: (value) => ago(value),
  ops: suffix(' ops/s'),
  reqps: suffix(' req/s'),
  rps: suffix(' reads/s'),
  wps: suffix(' writes/s'),
  iops: suffix(' io/s'),
  pps: suffix(' p/s'),
  cps: suffix('/s'),
  eps: suffix(' events/s'),
  mps: suffix(' msg/s'),
  recps: suffix(' rec/s'),
  rowsps: suffix(' rows/s'),
  opm: suffix(' ops/min'),
  rpm: suffix(' reads/min'),
  wpm: suffix(' writes/min'),
  reqpm: suffix(' req/min'),
  cpm: suffix('/min'),
  hertz: (value, decimals) => scaled(value, 1000, si('Hz'), decimals),
  rotrpm: suffix(' rpm'),
  rothz: suffix(' Hz'),
  celsius: suffix(' °C'),
  fahrenheit: suffix(' °F'),
  kelvin: suffix(' K'),
  humidity: suffix(' % RH'),
  volt: (value, decimals) => scaled(value, 1000, si('V'), decimals),
  amp: (value, decimals) => scaled(value, 1000, si('A'), decimals),
  watt: (value, decimals) => scaled(value, 1000, si('W'), decimals),
  kwatt: (value, decimals) => scaled(value * 1000, 1000, si('W'), decimals),
  voltamp: (value, decimals) => scaled(value, 1000, si('VA'), decimals),
  watth: (value, decimals) => scaled(value, 1000, si('Wh'), decimals),
  kwatth: (value, decimals) => scaled(value * 1000, 1000, si('Wh'), decimals),
  joule: (value, decimals) => scaled(value, 1000, si('J'), decimals),
  dBm: suffix(' dBm'),
  dB: suffix(' dB'),
  lengthm: suffix(' m'),
  flow: suffix(' m³/s'),
  currencyUSD: (value, decimals) => `$${short(value, decimals ?? 2)}`,
  currencyEUR: (value, decimals) => `€${short(value, decimals ?? 2)}`,
  bool: (value) => (value ? 'true' : 'false'),
  bool_yes_no: (value) => (value ? 'yes' : 'no'),
  bool_on_off: (value) => (value ? 'on' : 'off'),
  hex: (value) => `0x${Math.round(value).toString(16)}`,
  locale: (value, decimals) => value.toLocaleString('en-US', { maximumFractionDigits: decimals ?? 3 }),
  dateTimeAsIso: (value) => new Date(value).toISOString().replace('T', ' ').slice(0, 19),
  dateTimeAsIsoNoDateIfToday: (value) => new Date(value).toISOString().replace('T', ' ').slice(0, 19),
  dateTimeAsSystem: (value) => new Date(value).toISOString().replace('T', ' ').slice(0, 19),
  dateTimeFromNow: (value) => `${ago(Math.abs(Date.now() - value))} ${value > Date.now() ? 'from now' : 'ago'}`,
};

/** Whether a unit is one of those above, or says itself how it is written. */
export const known = (unit: string): boolean => unit in UNITS || /^(suffix|prefix|si|count|currency|time):/.test(unit);

/** `value` in `unit`; a unit that nobody knows is written after the number. */
export function written(value: number, unit: string, decimals: number | null = null): string {
  if (!Number.isFinite(value)) return num(value);
  const write = UNITS[unit];
  if (write) return write(value, decimals);
  const [kind, rest = ''] = unit.split(/:(.*)/s);
  if (kind === 'prefix' || kind === 'currency') return `${rest}${short(value, decimals)}`;
  if (kind === 'suffix' || kind === 'count') return `${short(value, decimals)} ${rest}`;
  if (kind === 'si') return scaled(value, 1000, si(rest.replace(/^[kMGT]/, '')), decimals);
  if (kind === 'time') return new Date(value).toISOString().replace('T', ' ').slice(0, 19);
  return `${short(value, decimals)} ${unit}`;
}

/** Units to choose from, with words. */
export const CHOICES: readonly [string, string][] = [
  ['', 'number'],
  ['percentunit', 'per cent, from a share of 1'],
  ['percent', 'per cent, from 0 to 100'],
  ['bytes', 'bytes (KiB, MiB)'],
  ['decbytes', 'bytes (kB, MB)'],
  ['binBps', 'bytes a second (KiB/s)'],
  ['Bps', 'bytes a second (kB/s)'],
  ['bps', 'bits a second'],
  ['s', 'seconds'],
  ['ms', 'milliseconds'],
  ['dtdurations', 'duration, from seconds'],
  ['ops', 'operations a second'],
  ['reqps', 'requests a second'],
  ['pps', 'packets a second'],
  ['hertz', 'hertz'],
  ['celsius', '°C'],
  ['watt', 'watts'],
  ['volt', 'volts'],
  ['amp', 'amperes'],
  ['rotrpm', 'revolutions a minute'],
  ['bool_yes_no', 'yes or no'],
  ['dateTimeAsIso', 'time, from milliseconds'],
  ['dateTimeFromNow', 'how long ago, from milliseconds'],
];
