import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;

/**
 * The consumers' rule in Java: one integer per topic, partition and lane tells a new record from a repeat and a gap.
 *
 * Take the nested class Rule; store `last` in the transaction that stores what a record changes, and restore it at start.
 * As a program it judges a file of sightings, one per line:
 *
 *     java ConsumerRule.java sightings.tsv
 */
public final class ConsumerRule {
    enum Verdict { APPLY, DUPLICATE, ALTERED, GAP }

    record Stream(String topic, int partition, int lane) {}

    /** Not safe for use by several threads: a partition is read by one. */
    static final class Rule {
        private final Map<Stream, Long> last = new HashMap<>();
        private final Map<Stream, Map<Long, String>> contents = new HashMap<>();

        /** Goes on after a position that was stored. */
        void restore(Stream stream, long position) {
            last.put(stream, position);
        }

        /** After ALTERED and GAP: stop, page, do not commit. The position stays where it was. */
        Verdict judge(Stream stream, long laneSeq, long prevSeq, String content) {
            Long known = last.get(stream);
            if (known == null || prevSeq == known && laneSeq > known) {
                last.put(stream, laneSeq);
                // A real consumer keeps the last few thousand: repeats come soon or never.
                contents.computeIfAbsent(stream, any -> new HashMap<>()).put(laneSeq, content);
                return Verdict.APPLY;
            }
            if (laneSeq > known) {
                return Verdict.GAP;
            }
            String held = contents.getOrDefault(stream, Map.of()).get(laneSeq);
            return held == null || held.equals(content) ? Verdict.DUPLICATE : Verdict.ALTERED;
        }
    }

    public static void main(String[] arguments) throws Exception {
        Rule rule = new Rule();
        for (String line : Files.readAllLines(Path.of(arguments[0]))) {
            if (line.startsWith("#")) {
                continue;
            }
            String[] part = line.split("\t");
            Stream stream = new Stream(part[0], Integer.parseInt(part[1]), Integer.parseInt(part[2]));
            Verdict verdict = rule.judge(stream, Long.parseLong(part[3]), Long.parseLong(part[4]), part[5]);
            System.out.println(verdict.name().toLowerCase());
        }
    }
}
