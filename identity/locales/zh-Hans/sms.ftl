sms-text = { $token } 是您的 Matrix 验证码
