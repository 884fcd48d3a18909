/** How long ago something was, whatever becomes of the clocks. */

/** A moment: now, when it is made. */
export class Moment {
  // The one stands still while the machine sleeps, the other may be set back.
  #steady = performance.now();
  #wall = Date.now();

  /** Milliseconds since then. */
  get age() {
    return Math.max(performance.now() - this.#steady, Date.now() - this.#wall);
  }
}
