// A client of `faces serve --stdio` that survives a crash of the server. Java 17, no libraries.
//
//   java FacesClient.java photo.jpg another.jpg
//   java FacesClient.java --repeat 100 photo.jpg
//
// The environment variable FACES_COMMAND names another command than `faces serve --stdio`. Answers
// are handed on as JSON text: read them with the JSON library that your program has.

import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Semaphore;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

/** Runs the server as a child process; restarts it and sends again what was not answered. */
public class FacesClient implements AutoCloseable {
    private static final int AT_ONCE = 16; // requests under way; more would only fill the pipe
    private static final int ATTEMPTS = 5; // a request that always brings the server down is given up

    // The server promises that an answer begins with the id.
    private static final Pattern ANSWER =
            Pattern.compile("\\{\"id\":(\\d+),\"(result|error)\":(.*)\\}", Pattern.DOTALL);

    private static final class Waiting {
        final byte[] message;
        final CompletableFuture<String> answer = new CompletableFuture<>();
        int attempts = 1;

        Waiting(byte[] message) {
            this.message = message;
        }
    }

    private final List<String> command;
    private final Semaphore room = new Semaphore(AT_ONCE);
    private final Map<Long, Waiting> waiting = new TreeMap<>();
    private long last = 0;
    private boolean closed = false;
    private Process process;

    public FacesClient(List<String> command) throws IOException {
        this.command = command;
        start();
    }

    /**
     * Send a request; the future has the JSON text of its result, or fails with that of its error.
     *
     * @param fields more fields as JSON text, such as {@code "name":"Ada"}; may be empty
     */
    public CompletableFuture<String> request(String op, String fields, byte[]... images)
            throws InterruptedException {
        room.acquire();
        synchronized (this) {
            long id = ++last;
            String frames = Arrays.stream(images).map(image -> Integer.toString(image.length))
                    .collect(Collectors.joining(","));
            String header = "{\"id\":" + id + ",\"op\":\"" + op + "\",\"frames\":[" + frames + "]"
                    + (fields.isEmpty() ? "" : "," + fields) + "}\n";
            ByteArrayOutputStream message = new ByteArrayOutputStream();
            message.writeBytes(header.getBytes(StandardCharsets.UTF_8));
            for (byte[] image : images) {
                message.writeBytes(image);
            }
            Waiting entry = new Waiting(message.toByteArray());
            entry.answer.whenComplete((answer, error) -> room.release());
            waiting.put(id, entry);
            send(entry.message);
            return entry.answer;
        }
    }

    /** Wait for the answers, then for the end of the server. */
    @Override
    public void close() throws IOException, InterruptedException {
        room.acquire(AT_ONCE);
        synchronized (this) {
            closed = true;
            process.getOutputStream().close();
        }
        process.waitFor();
    }

    private void start() throws IOException {
        Process started = new ProcessBuilder(command)
                .redirectError(ProcessBuilder.Redirect.INHERIT).start();
        process = started;
        Thread reader = new Thread(() -> read(started), "faces");
        reader.setDaemon(true);
        reader.start();
    }

    private void send(byte[] message) {
        try {
            process.getOutputStream().write(message);
            process.getOutputStream().flush();
        } catch (IOException error) {
            // It has died; the reader notices that too, and sends everything again.
        }
    }

    private void read(Process started) {
        try (BufferedReader lines = new BufferedReader(
                new InputStreamReader(started.getInputStream(), StandardCharsets.UTF_8))) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                Matcher answer = ANSWER.matcher(line);
                if (!answer.matches()) {
                    continue; // an event, or a line that it was writing when it died
                }
                Waiting entry;
                synchronized (this) {
                    entry = waiting.remove(Long.parseLong(answer.group(1)));
                }
                if (answer.group(2).equals("result")) {
                    entry.answer.complete(answer.group(3));
                } else {
                    entry.answer.completeExceptionally(new RuntimeException(answer.group(3)));
                }
            }
            started.waitFor();
            synchronized (this) {
                if (!closed) {
                    restart();
                }
            }
        } catch (IOException | InterruptedException error) {
            throw new IllegalStateException(error);
        }
    }

    private void restart() throws IOException {
        System.err.println("the server has died; starting it again");
        start();
        for (Map.Entry<Long, Waiting> pair : new ArrayList<>(waiting.entrySet())) {
            Waiting entry = pair.getValue();
            if (entry.attempts++ == ATTEMPTS) {
                waiting.remove(pair.getKey());
                entry.answer.completeExceptionally(
                        new RuntimeException("the server dies of this request"));
            } else {
                send(entry.message);
            }
        }
    }

    public static void main(String[] arguments) throws Exception {
        List<String> names = new ArrayList<>(Arrays.asList(arguments));
        int repeat = 1;
        if (names.get(0).equals("--repeat")) {
            repeat = Integer.parseInt(names.get(1));
            names = names.subList(2, names.size());
        }
        String command = System.getenv().getOrDefault("FACES_COMMAND", "faces serve --stdio");
        List<CompletableFuture<String>> answers = new ArrayList<>();
        try (FacesClient client = new FacesClient(List.of(command.split(" ")))) {
            List<byte[]> photos = new ArrayList<>();
            for (String name : names) {
                photos.add(Files.readAllBytes(Path.of(name)));
            }
            for (int i = 0; i < repeat * names.size(); i++) {
                answers.add(client.request("detect", "", photos.get(i % photos.size())));
            }
            for (int i = 0; i < answers.size(); i++) {
                System.out.println(names.get(i % names.size()) + " " + answers.get(i).get());
            }
        }
    }
}
