sms-text = { $token } is uw Matrix-code
