// Numbers as people read them: significant digits, SI and binary prefixes, units guessed from a metric's name.

/** `12,345`. */
export const count = (value: number): string => value.toLocaleString('en-US', { maximumFractionDigits: 0 });

/** `86k`, `1.2M`: for labels with little room. */
export function short(value: number): string {
  const size = Math.abs(value);
  for (const [letter, unit] of [['G', 1e9], ['M', 1e6], ['k', 1e3]] as const) {
    if (size >= unit) return `${trim((value / unit).toFixed(size >= unit * 10 ? 0 : 1))}${letter}`;
  }
  return trim(value.toFixed(size < 1 && size > 0 ? 2 : 0));
}

const trim = (text: string): string => (text.includes('.') ? text.replace(/\.?0+$/, '') : text);

/** Up to four significant digits; very large and small ones with a prefix. */
export function num(value: number): string {
  if (Number.isNaN(value)) return 'NaN';
  if (!Number.isFinite(value)) return value > 0 ? '+Inf' : '-Inf';
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size >= 1e15 || size < 1e-6) return value.toExponential(2);
  for (const [letter, unit] of [['T', 1e12], ['G', 1e9], ['M', 1e6], ['k', 1e4]] as const) {
    if (size >= unit) return `${sig(value / (letter === 'k' ? 1e3 : unit))} ${letter}`;
  }
  if (size < 1e-3) return `${sig(value * 1e6)} µ`;
  return sig(value);
}

/** Four significant digits, no trailing zeros. */
const sig = (value: number): string => {
  const size = Math.abs(value);
  return trim(value.toFixed(size >= 1000 ? 0 : size >= 100 ? 1 : size >= 10 ? 2 : size >= 1 ? 3 : 4));
};

/** `3.2 GiB`. */
export function bytes(value: number): string {
  if (!Number.isFinite(value)) return num(value);
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let i = 0;
  let size = value;
  while (Math.abs(size) >= 1024 && i < units.length - 1) {
    size /= 1024;
    i++;
  }
  return `${i === 0 ? num(Math.round(size * 100) / 100) : trim(size.toFixed(Math.abs(size) >= 100 ? 0 : 1))} ${units[i]}`;
}

/** `12 ms`, `3.4 s`, from seconds. */
export function seconds(value: number): string {
  if (!Number.isFinite(value)) return num(value);
  const size = Math.abs(value);
  if (size === 0) return '0 s';
  if (size < 1e-3) return `${trim((value * 1e6).toFixed(0))} µs`;
  if (size < 1) return `${trim((value * 1e3).toFixed(size < 0.01 ? 2 : size < 0.1 ? 1 : 0))} ms`;
  if (size < 120) return `${trim(value.toFixed(size < 10 ? 2 : 1))} s`;
  if (size < 7200) return `${trim((value / 60).toFixed(1))} min`;
  if (size < 172800) return `${trim((value / 3600).toFixed(1))} h`;
  return `${trim((value / 86400).toFixed(1))} d`;
}

/** `98.46%`, from a share of one. Never rounds a loss away: 0.99999 is `>99.99%`. */
export function percent(share: number, digits = 2): string {
  if (!Number.isFinite(share)) return num(share);
  const text = (share * 100).toFixed(digits);
  if (share < 1 && Number(text) >= 100) return `>${(100 - 10 ** -digits).toFixed(digits)}%`;
  return `${share === 1 ? '100' : share === 0 ? '0' : text}%`;
}

export type Unit = 'none' | 'bytes' | 'bytes/s' | 'seconds' | 'percent' | 'per-second';

/** The unit of what `expr` yields, as far as its text says: `rate(x_bytes_total)` is bytes a second. */
export function guessUnit(expr: string): Unit {
  const rate = /\b(rate|irate|deriv)\s*\(/.test(expr);
  if (/\s\/\s|^1 -|histogram_fraction|ratio\b/.test(expr) && !/100\s*\*|\*\s*100/.test(expr)) {
    return /ratio|_bytes\b[^/]*\/[^/]*_bytes\b|^1 -|mode=/.test(expr) ? 'percent' : 'none';
  }
  if (/_bytes(_total)?\b/.test(expr)) return rate ? 'bytes/s' : 'bytes';
  if (/_seconds(_bucket|_sum)?\b/.test(expr) && !rate) return 'seconds';
  if (/histogram_quantile.*_seconds/.test(expr)) return 'seconds';
  return rate ? 'per-second' : 'none';
}

/** `value` with its unit. */
export function withUnit(value: number, unit: Unit): string {
  switch (unit) {
    case 'bytes':
      return bytes(value);
    case 'bytes/s':
      return `${bytes(value)}/s`;
    case 'seconds':
      return seconds(value);
    case 'percent':
      return Number.isFinite(value) ? `${trim((value * 100).toFixed(Math.abs(value) < 0.1 ? 2 : 1))}%` : num(value);
    case 'per-second':
      return `${num(value)}/s`;
    default:
      return num(value);
  }
}
