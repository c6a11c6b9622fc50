// Intermediates that this process has seen in a chain that held: its own and those of servers it dialled. Node.js
// 24.21 shows a server nothing of what its client sent but the leaf (nodejs/node#65579); these stand in for the rest.
// An issuer that is not known yet is learned by renewing our own certificate (Acceptors).
// They only help to find a path: every signature, date and revocation of it is checked as ever.

/** Enough for every issuing certificate of a mesh under rotation. */
const most = 64;

export class KnownIssuers {
  readonly #byText = new Map<string, Uint8Array>();

  /** DER; the one that was not remembered for longest makes room. */
  remember(der: Uint8Array): void {
    const text = Buffer.from(der).toString('base64');
    const known = this.#byText.get(text) ?? der;
    this.#byText.delete(text);
    this.#byText.set(text, known);
    const [oldest] = this.#byText.keys();
    if (this.#byText.size > most && oldest !== undefined) this.#byText.delete(oldest);
  }

  all(): Uint8Array[] {
    return [...this.#byText.values()];
  }
}
