<?php
// A shop in one file: it orders cards at the supplier, posts the order, waits for the webhook, and prints the link.
// Run it with the URL of `giftcards local up --webhook-url`: php shop.php USER_ID http://127.0.0.1:8787
[, $userId, $webhookUrl] = $argv;

function send(string $method, string $url, array $headers, ?array $body = null): array
{
    $http = ['method' => $method, 'header' => [...$headers, 'Content-Type: application/json'], 'timeout' => 30];
    $http += ['content' => $body === null ? '' : json_encode($body), 'ignore_errors' => true];
    for ($try = 1; ; $try++) {
        $text = @file_get_contents($url, false, stream_context_create(['http' => $http]));
        $status = $text === false ? 503 : (int) explode(' ', $http_response_header[0])[1];
        if ($status < 300) {
            return json_decode($text, true);
        }
        if (!in_array($status, [429, 503]) || $try === 5) {
            throw new RuntimeException("$method answered $status: $text");
        }
        sleep($try); // the call may be repeated: an order is fulfilled once, and a link stays the same
    }
}

function shop(string $method, string $path, ?array $body = null): array
{
    return send($method, getenv('SHOP_API_URL') . $path, ['Authorization: Bearer ' . getenv('SHOP_API_KEY')], $body);
}

function next_event($server): array
{
    while (true) {
        $caller = stream_socket_accept($server, 120) ?: throw new RuntimeException('no event within two minutes');
        [$key, $length] = ['', 0];
        while (($line = trim((string) fgets($caller))) !== '') {
            [$name, $value] = array_map('trim', explode(':', $line, 2)) + [1 => ''];
            $key = strtolower($name) === 'x-giftcards-key' ? $value : $key;
            $length = strtolower($name) === 'content-length' ? (int) $value : $length;
        }
        $event = json_decode((string) stream_get_contents($caller, $length), true);
        $known = hash_equals((string) getenv('WEBHOOK_KEY'), $key);
        fwrite($caller, 'HTTP/1.1 ' . ($known ? '204 No Content' : '401 Unauthorized') . "\r\nContent-Length: 0\r\n\r\n");
        fclose($caller);
        if ($known) {
            return $event;
        }
    }
}

$server = stream_socket_server('tcp://127.0.0.1:' . parse_url($webhookUrl, PHP_URL_PORT), $code, $why) ?: die("$why\n");
$order = send('POST', getenv('SUPPLIER_URL') . '/control/orders', [], ['quantity' => 2]);
shop('POST', '/v1/orders', ['orderId' => $order['orderId'], 'userId' => $userId]);
do {
    $event = next_event($server);
} while ($event['detail-type'] !== 'CardsDelivered' || $event['detail']['orderId'] !== $order['orderId']);
$link = shop('POST', '/v1/orders/' . rawurlencode($order['orderId']) . '/links', ['userId' => $userId]);
echo $link['url'], "\n";
