// Little-endian reading and writing with bounds, LEB128 and CRC-32C (Castagnoli, RFC 3720 appendix B.4).

export class FormatError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'FormatError';
  }
}

const UTF8 = new TextDecoder('utf-8', { fatal: true });

export class Reader {
  at = 0;
  readonly bytes: Uint8Array;
  readonly #view: DataView;
  readonly #what: string;

  /** `what` names the payload in errors. */
  constructor(bytes: Uint8Array, what: string) {
    this.bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#what = what;
  }
  get left(): number {
    return this.bytes.length - this.at;
  }
  fail(why: string): never {
    throw new FormatError(`${this.#what}: ${why} at byte ${this.at}`);
  }
  #take(size: number): number {
    if (this.left < size) this.fail('it ends too early');
    const at = this.at;
    this.at += size;
    return at;
  }
  magic(word: string): void {
    for (const letter of word) if (this.u8() !== letter.charCodeAt(0)) this.fail(`it does not begin with ${word}`);
  }
  u8(): number {
    return this.#view.getUint8(this.#take(1));
  }
  u16(): number {
    return this.#view.getUint16(this.#take(2), true);
  }
  u32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }
  u64(): bigint {
    return this.#view.getBigUint64(this.#take(8), true);
  }
  i64(): number {
    return Number(this.#view.getBigInt64(this.#take(8), true));
  }
  f64(): number {
    return this.#view.getFloat64(this.#take(8), true);
  }
  slice(size: number): Uint8Array {
    const at = this.#take(size);
    return this.bytes.subarray(at, at + size);
  }
  varint(): number {
    let value = 0;
    for (let shift = 0; shift < 5; shift++) {
      const byte = this.u8();
      value += (byte & 0x7f) * 2 ** (7 * shift);
      if (byte < 0x80) {
        if (value > 0xffffffff) this.fail('a number is larger than 32 bits');
        return value;
      }
    }
    return this.fail('a number is longer than 5 bytes');
  }
  text(): string {
    return UTF8.decode(this.slice(this.varint()));
  }
}

export class Writer {
  #bytes = new Uint8Array(256);
  #view = new DataView(this.#bytes.buffer);
  at = 0;

  #grow(size: number): number {
    const at = this.at;
    this.at += size;
    if (this.at > this.#bytes.length) {
      const next = new Uint8Array(Math.max(this.at, this.#bytes.length * 2));
      next.set(this.#bytes);
      this.#bytes = next;
      this.#view = new DataView(next.buffer);
    }
    return at;
  }
  done(): Uint8Array {
    return this.#bytes.slice(0, this.at);
  }
  ascii(word: string): this {
    for (const letter of word) this.u8(letter.charCodeAt(0));
    return this;
  }
  u8(value: number): this {
    const at = this.#grow(1); // first: growing replaces the view
    this.#view.setUint8(at, value);
    return this;
  }
  u16(value: number): this {
    const at = this.#grow(2); // first: growing replaces the view
    this.#view.setUint16(at, value, true);
    return this;
  }
  u32(value: number): this {
    const at = this.#grow(4); // first: growing replaces the view
    this.#view.setUint32(at, value, true);
    return this;
  }
  u64(value: bigint): this {
    const at = this.#grow(8); // first: growing replaces the view
    this.#view.setBigUint64(at, value, true);
    return this;
  }
  i64(value: number): this {
    const at = this.#grow(8); // first: growing replaces the view
    this.#view.setBigInt64(at, BigInt(value), true);
    return this;
  }
  f64(value: number): this {
    const at = this.#grow(8); // first: growing replaces the view
    this.#view.setFloat64(at, value, true);
    return this;
  }
  put(bytes: Uint8Array): this {
    const at = this.#grow(bytes.length);
    this.#bytes.set(bytes, at);
    return this;
  }
  varint(value: number): this {
    let rest = value;
    while (rest >= 0x80) {
      this.u8((rest % 0x80) | 0x80);
      rest = Math.floor(rest / 0x80);
    }
    return this.u8(rest);
  }
  text(text: string): this {
    const bytes = new TextEncoder().encode(text);
    return this.varint(bytes.length).put(bytes);
  }
}

const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let k = 0; k < 8; k++) c = c & 1 ? (c >>> 1) ^ 0x82f63b78 : c >>> 1;
  return c >>> 0;
});

/** CRC-32C over the parts one after the other. */
export function crc32c(...parts: Uint8Array[]): number {
  let c = 0xffffffff;
  for (const part of parts) for (let i = 0; i < part.length; i++) c = (CRC[(c ^ (part[i] as number)) & 0xff] as number) ^ (c >>> 8);
  return (c ^ 0xffffffff) >>> 0;
}

export const hex64 = (value: bigint): string => value.toString(16).padStart(16, '0');

export function fromBase64(text: string): Uint8Array {
  let binary: string;
  try {
    binary = atob(text);
  } catch {
    throw new FormatError(`a delta is not base64: ${text.slice(0, 20)}`);
  }
  const out = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) out[i] = binary.charCodeAt(i);
  return out;
}
