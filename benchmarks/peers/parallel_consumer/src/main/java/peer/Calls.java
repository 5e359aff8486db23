package peer;

/** How long a simulated call takes: the same function as benchmarks/calls.py, to the last bit. */
final class Calls {
  private static final long GOLDEN_GAMMA = 0x9E3779B97F4A7C15L;

  private final Contract contract;

  Calls(Contract contract) {
    this.contract = contract;
  }

  /** Seconds of the call for this turn; a pure function of seed and sequence. */
  double seconds(long sequence) {
    if (contract.slowEvery() > 0 && sequence % contract.slowEvery() == 0) {
      return contract.slowS();
    }
    if (contract.latencyMs() == 0.0) {
      return 0.0;
    }
    double spread = contract.jitter() * (2.0 * uniform(contract.seed(), sequence) - 1.0);
    return contract.latencyMs() * (1.0 + spread) / 1000.0;
  }

  /** SplitMix64 (Steele, Lea, Flood 2014), its upper 53 bits as a double in [0, 1). */
  static double uniform(long seed, long sequence) {
    long z = seed + (sequence + 1) * GOLDEN_GAMMA;
    z = (z ^ (z >>> 30)) * 0xBF58476D1CE4E5B9L;
    z = (z ^ (z >>> 27)) * 0x94D049BB133111EBL;
    return ((z ^ (z >>> 31)) >>> 11) * 0x1.0p-53;
  }

  /** Prints the first lengths, one a line: benchmarks/test_calls.py compares them with its own. */
  public static void main(String[] args) throws Exception {
    Calls calls = new Calls(Contract.read(args[0]));
    for (long sequence = 1; sequence <= Long.parseLong(args[1]); sequence++) {
      System.out.println(calls.seconds(sequence));
    }
  }
}
